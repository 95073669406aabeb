package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

// Of two servers with limits of their own the tighter counts, whichever made
// the session.
func TestASessionEndsAtTheTighterOfTwoServersLimits(t *testing.T) {
	for _, stateless := range []bool{false, true} {
		for _, lifetimes := range [][2]time.Duration{{time.Hour, 0}, {0, time.Hour}} {
			for _, age := range []time.Duration{time.Hour - 2*time.Second, time.Hour + 2*time.Second} {
				synctest.Test(t, func(t *testing.T) {
					f := newFleet()
					server := func(lifetime time.Duration) *ServerCache {
						if stateless {
							return &ServerCache{Keyring: f.keys, Lifetime: lifetime}
						}
						return &ServerCache{Store: Seal(f.shelf, f.keys), Lifetime: lifetime}
					}
					h := newHouse(t, server(lifetimes[0]), byListener)
					other := h.sibling(server(lifetimes[1]), byListener)
					_, cs := h.call(nil)
					time.Sleep(age)
					resumed, _ := other.call(cs)
					require.Equal(t, age < time.Hour, resumed, "stateless: %t, lifetimes %v, after %v", stateless, lifetimes, age)
				})
			}
		}
	}
}

// A stateless session that was resumed cannot be revoked either, by whichever
// handle, and is in no books.
func TestAResumedStatelessSessionCannotBeRevoked(t *testing.T) {
	cache := &ServerCache{Keyring: tlstest.Must(ticket.NewKeyring([32]byte{1}))}
	removed := make(chan bool, 1)
	cache.Observe = func(e Event) {
		if e.Kind == HandshakeDone && e.Resumed {
			removed <- cache.Remove(e.Session)
		}
	}
	h := newHouse(t, cache, byListener)
	_, cs := h.call(nil)
	for range 2 {
		resumed, _ := h.call(cs)
		require.True(t, resumed)
		require.False(t, <-removed)
	}
	st := checkServerStats(t, cache)
	require.EqualValues(t, 3, st.Kept)
	require.Zero(t, st.Removed)
}

// A stateless ticket that no ClientHello has room for is not made.
func TestAStatelessTicketAbove16KiBIsNotSent(t *testing.T) {
	cache := &ServerCache{Keyring: tlstest.Must(ticket.NewKeyring([32]byte{1}))}
	var sent *Session
	cache.NewSession = func(s *Session) { sent = s.Retain() }
	h := newHouse(t, cache, byListener)
	state := serverState(t, h)
	state.Extra = [][]byte{make([]byte, maxTicketSize)}
	cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	v := cache.core().view(h.base)
	require.Len(t, v.wrap(nil, &cs, state), len(handle{}))
	require.Equal(t, Failed, sent.Status())
	require.Equal(t, "ticket-size", sent.Reason())
	sent.Release()
	checkServerStats(t, cache)
}
