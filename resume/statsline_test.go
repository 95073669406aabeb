package resume

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The line has an equals sign in it, which must be true with a store as well.
func TestTheLineOfStatsAddsUpWithAStore(t *testing.T) {
	f, p := newFleet(), newPeer(t)
	c := f.cache(t)
	p.bound(t, c.Scope("tenant"), true)
	flush(t, c)
	require.EqualValues(t, 1, c.Stats().Stored)
	require.Equal(t, "captured 1 = used 0 + expired 0 + evicted 0 + removed 0 + failed 0 + kept 0 + stored 1; full 1, resumed 0",
		c.Stats().String())
	other := f.cache(t)
	p.bound(t, other.Scope("tenant"), false)
	require.Equal(t, "captured 0 + fetched 1 = used 1 + expired 0 + evicted 0 + removed 0 + failed 0 + kept 0; full 0, resumed 1",
		other.Stats().String())
}
