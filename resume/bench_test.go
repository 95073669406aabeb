package resume

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPluggedGetPut is what a resumed connection costs the cache: one
// session taken, one received, with a small certificate. A session can be put
// only once; taking the mark off again makes it a fresh one.
func BenchmarkPluggedGetPut(b *testing.B) {
	cs := newPeer(b).states(b, 1)[0]
	_, state, err := cs.ResumptionState()
	require.NoError(b, err)
	c := new(ClientCache)
	b.ReportAllocs()
	for b.Loop() {
		state.Extra = nil
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
