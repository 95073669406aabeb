package resume

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Of handshakes that cannot be told apart the oldest descent is dealt out first,
// so that no chain is taken for a younger one while it is still open.
func TestTheOldestDescentIsDealtOutFirst(t *testing.T) {
	var c chains
	now := time.Now()
	key := chainKey{name: serverName}
	for _, age := range []time.Duration{2, 5, 3, 1, 4} {
		c.begin(key, descent{fullHandshake: now.Add(-age * time.Hour), resumptions: int(age)}, now)
	}
	c.begin(chainKey{name: "other.test"}, descent{fullHandshake: now.Add(-9 * time.Hour)}, now)
	for age := time.Duration(5); age > 0; age-- {
		require.Equal(t, descent{fullHandshake: now.Add(-age * time.Hour), resumptions: int(age) + 1}, c.end(key, now))
	}
	require.Equal(t, descent{fullHandshake: now}, c.end(key, now), "there are no more")
	require.Len(t, c.open, 1)
}

// Handshakes that fail leave their descents open: for a minute, and no more than
// a number of them.
func TestOpenChainsAreBounded(t *testing.T) {
	var c chains
	now := time.Now()
	key := chainKey{name: serverName}
	c.begin(key, descent{fullHandshake: now.Add(-time.Hour)}, now)
	later := now.Add(openChainTime + time.Second)
	c.begin(chainKey{name: "other.test"}, descent{}, later)
	require.Equal(t, descent{fullHandshake: later}, c.end(key, later), "that one has failed")

	for i := range 3 * maxOpenChains {
		c.begin(chainKey{name: fmt.Sprint(i)}, descent{resumptions: i}, later)
		require.LessOrEqual(t, len(c.open), maxOpenChains)
	}
	last := 3*maxOpenChains - 1
	require.Equal(t, last+1, c.end(chainKey{name: fmt.Sprint(last)}, later).resumptions, "the newest stay")
}
