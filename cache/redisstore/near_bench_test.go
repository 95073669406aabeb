package redisstore_test

import (
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// A catcher is a ClientSessionCache that has nothing and keeps what comes.
type catcher struct{ states []*tls.ClientSessionState }

func (c *catcher) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *catcher) Put(_ string, cs *tls.ClientSessionState)   { c.states = append(c.states, cs) }

// states are n sessions of the fleet's server.
func (f *fleet) states(b *testing.B, n int) []*tls.ClientSessionState {
	all := new(catcher)
	for range n {
		conn, err := tls.Dial("tcp", f.Addr, &tls.Config{RootCAs: f.ca.Pool(), ServerName: host, ClientSessionCache: all})
		require.NoError(b, err)
		conn.Write([]byte("x"))
		_, err = conn.Read(make([]byte, 1))
		require.NoError(b, err)
		conn.Close()
	}
	require.Len(b, all.states, n)
	return all.states
}

// getting is an arm that times Get of a scope that has sessions at hand. What
// it gets it puts back, with the mark taken off that says it was put before.
func getting(b *testing.B, name string, scope *resume.Scope, states []*tls.ClientSessionState) *arm {
	scope.Get(host) // so that the server is busy
	for _, cs := range states[1:] {
		scope.Put(host, cs)
	}
	last := states[0]
	return &arm{
		name: name,
		before: func(int) {
			_, state, err := last.ResumptionState()
			require.NoError(b, err)
			state.Extra = nil
			scope.Put(host, last)
		},
		timed: func(int) {
			var ok bool
			if last, ok = scope.Get(host); !ok {
				b.Fatal("miss")
			}
		},
	}
}

// BenchmarkNearTier is a lease with the near tier warm against memory alone,
// and against a Get that has to ask Redis.
func BenchmarkNearTier(b *testing.B) {
	f := newFleet(b)
	near, calls := f.nearby(b, 8, f.primary.client(b))
	defer near.Close()
	far, _ := f.nearby(b, 0, f.primary.client(b))
	defer far.Close()
	memory := new(resume.ClientCache)
	arms := []*arm{
		getting(b, "memory", memory.Scope("tenant"), f.states(b, 8)),
		getting(b, "near", near.Scope("tenant"), f.states(b, 8)),
		{name: "asking", timed: func(n int) { far.Scope(fmt.Sprint(n)).Get(host) }},
	}
	before := calls.commands.Load()
	b.ResetTimer()
	medians := race(b, arms)
	b.ReportMetric(microseconds(medians["near"]-medians["memory"]), "near-memory-us")
	b.ReportMetric(float64(medians["near"])/float64(medians["memory"]), "near/memory")
	b.ReportMetric(float64(medians["asking"])/float64(medians["near"]), "asking/near")
	b.ReportMetric(float64(calls.commands.Load()-before)/float64(b.N), "commands/get")
}
