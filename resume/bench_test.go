package resume

import (
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"time"

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

// BenchmarkBinding prints what it costs a connection to be made by NewConn
// rather than tls.Client. The two take turns. The ballast stands for the heap
// of a program: without one, half of what is measured is the collector, which
// runs every few thousand connections.
func BenchmarkBinding(b *testing.B) {
	config := newPeer(b).client
	var raw net.Conn = deadConn{Conn: tcpPair(b)}
	ballast := make([]byte, 64<<20)
	defer runtime.KeepAlive(ballast)
	scope := new(ClientCache).NewScope()
	plain := func() { tls.Client(raw, config) }
	bound := func() { scope.NewConn(raw, config) }
	var spent [2]time.Duration
	const batch = 100
	for b.Loop() {
		for i, arm := range []func(){plain, bound} {
			began := time.Now()
			for range batch {
				arm()
			}
			spent[i] += time.Since(began)
		}
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(batch*b.N) }
	b.ReportMetric(each(spent[0]), "tls.Client-ns")
	b.ReportMetric(each(spent[1]), "NewConn-ns")
	b.ReportMetric(each(spent[1]-spent[0]), "binding-ns")
	b.ReportMetric(testing.AllocsPerRun(100, bound)-testing.AllocsPerRun(100, plain), "binding-allocs")
	b.ReportMetric(0, "ns/op")
}

// tcpPair is one end of a connection on loopback.
func tcpPair(b testing.TB) net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	return conn
}
