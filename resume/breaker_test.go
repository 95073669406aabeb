package resume

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A store that is down is tried by one call at a time, after pauses that grow,
// and for ever: it may be back.
func TestBreakerTriesAgainAndAgainWithOneCall(t *testing.T) {
	var b breaker
	now := time.Now()
	for n := range breakAfter {
		require.True(t, b.allows(now))
		require.False(t, b.isOpen(now))
		require.Equal(t, n == breakAfter-1, b.failed(now), "it opens once")
	}
	pause := breakFirst
	for range 12 {
		require.True(t, b.isOpen(now.Add(pause-1)))
		require.False(t, b.allows(now.Add(pause-1)))
		now = now.Add(pause)
		require.False(t, b.isOpen(now), "somebody may try")
		require.True(t, b.allows(now))
		require.False(t, b.allows(now), "one does")
		require.True(t, b.isOpen(now))
		require.False(t, b.failed(now))
		pause = min(2*pause, breakMost)
	}
	require.True(t, b.allows(now.Add(pause)))
	require.True(t, b.succeeded())
	require.False(t, b.succeeded(), "it closes once")
	require.True(t, b.allows(now))
	require.True(t, b.allows(now))
}
