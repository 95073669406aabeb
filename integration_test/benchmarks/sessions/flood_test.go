package sessions

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
	"github.com/tlsresume/tlsresume/resume"
)

// Servers that come once, each with a certificate of its own, neither exceed
// MaxBytes nor make the heap grow on.
func TestMaxBytesHoldsUnderAFloodOfServers(t *testing.T) {
	const maxBytes, flood = 1 << 20, 6000
	source, err := NewSource(true)
	require.NoError(t, err)
	c := &resume.ClientCache{MaxServers: 2 * flood, MaxBytes: maxBytes}
	before := report.Heap()
	var most int64
	put := func(from, to int) float64 {
		for server := from; server < to; server++ {
			state, err := source.Session(server)
			require.NoError(t, err)
			c.Put(Name(server), state)
			most = max(most, c.Stats().Bytes)
		}
		return report.Heap() - before
	}
	half := put(0, flood/2)
	full := put(flood/2, flood)
	t.Logf("bytes %d, heap %.0f and %.0f", most, half, full)
	require.LessOrEqual(t, most, int64(maxBytes))
	require.Greater(t, most, int64(maxBytes)*9/10, "or it was not the bound that held")
	perServer := (full - half) / (flood / 2)
	require.Less(t, perServer, 400.0, "what is remembered of a server whose session is gone")
	_, ok := c.Get(Name(flood - 1))
	require.True(t, ok, "the last one is there")
}
