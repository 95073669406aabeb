package arms

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryArmGivesAValueOutOnce(t *testing.T) {
	for _, arm := range All {
		t.Run(arm.Name, func(t *testing.T) {
			c, value := arm.New(100), new(int)
			c.Put("a", value)
			c.Put("b", new(int))
			got, ok := c.Take("a")
			require.True(t, ok)
			require.Same(t, value, got)
			_, ok = c.Take("a")
			require.False(t, ok)
		})
	}
}

// An arm with more room than the others would make room less often. Otter
// evicts behind the calls, and may be over its bound meanwhile.
func TestEveryArmKeepsToItsCapacity(t *testing.T) {
	const capacity = 100
	for _, arm := range All {
		t.Run(arm.Name, func(t *testing.T) {
			c := arm.New(capacity)
			for i := range 10 * capacity {
				c.Put(fmt.Sprint(i), new(int))
			}
			if o, ok := c.(otterCache); ok {
				o.cache.CleanUp()
			}
			kept := 0
			for i := range 10 * capacity {
				if _, ok := c.Take(fmt.Sprint(i)); ok {
					kept++
				}
			}
			require.LessOrEqual(t, kept, capacity)
			require.Greater(t, kept, capacity/2)
		})
	}
}
