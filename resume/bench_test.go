package resume

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPluggedGetPut is what a resumed connection costs the cache: one
// session taken, one received, with a small certificate. A session can be put
// only once, so each Put gets a fresh one, made while the clock stands.
func BenchmarkPluggedGetPut(b *testing.B) {
	p := newPeer(b)
	state := p.states(b, 1)[0]
	ticket, parsed, err := state.ResumptionState()
	require.NoError(b, err)
	c := new(ClientCache)
	fresh := func(n int) []*tls.ClientSessionState {
		out := make([]*tls.ClientSessionState, n)
		for i := range out {
			copied := *parsed
			out[i], err = tls.NewResumptionState(ticket, &copied)
			require.NoError(b, err)
		}
		return out
	}
	b.ReportAllocs()
	states := fresh(b.N)
	b.ResetTimer()
	for _, cs := range states {
		c.Put(serverName, cs)
		if _, ok := c.Get(serverName); !ok {
			b.Fatal("miss")
		}
	}
}

// BenchmarkStandardGetPut is the same with the standard library's cache.
func BenchmarkStandardGetPut(b *testing.B) {
	cs := newPeer(b).states(b, 1)[0]
	c := tls.NewLRUClientSessionCache(0)
	b.ReportAllocs()
	for b.Loop() {
		c.Put(serverName, cs)
		if _, ok := c.Get(serverName); !ok {
			b.Fatal("miss")
		}
	}
}
