package resume

import (
	"crypto/tls"
	"errors"
	"net"
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

// Nothing ends a stateless session, so nothing says so either: its ticket was
// sent, and resumes whatever became of that connection.
func TestAStatelessSessionDoesNotEndWithItsConnection(t *testing.T) {
	var d diary
	cache := &ServerCache{Keyring: tlstest.Must(ticket.NewKeyring([32]byte{1})), Observe: d.note}
	cache.RemoveSession = func(*Session) { t.Error("a stateless session ended") }
	h := newHouse(t, cache, byListener)
	v := cache.core().view(h.base)
	v.verify = func(tls.ConnectionState) error { return errors.New("refused") }
	link := &serverLink{core: cache.core()}
	link.wire = serverWire{Conn: deadConn{Conn: new(net.TCPConn)}, link: link}
	cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	label := v.wrap(link, &cs, serverState(t, h))
	require.Error(t, v.verified(link, &cs))
	require.Equal(t, Resumable, link.session().borrow().Status())
	require.NotNil(t, v.unwrap(nil, label, &cs))
	require.Empty(t, d.reasons(SessionEnded))
	require.EqualValues(t, 1, checkServerStats(t, cache).Kept)
}

// A session from the future is of no use now, and stays for when the clock has
// caught up.
func TestAServersClockThatIsSetBackCostsNoSession(t *testing.T) {
	var d diary
	cache := &ServerCache{Observe: d.note}
	h := newHouse(t, cache, byListener)
	_, cs := h.call(nil)
	s := cache.Get1Session(h.accepted())
	defer s.Release()
	s.s.received += int64(time.Hour)
	resumed, _ := h.call(cs)
	require.False(t, resumed)
	require.Equal(t, []string{"clock"}, d.reasons(SessionMissing))
	require.Equal(t, "clock", s.Reason())
	s.s.received -= int64(time.Hour)
	resumed, _ = h.call(cs)
	require.True(t, resumed)
}

// A session is bound to the hash of its suite: presented where the server picks
// another, it cannot be resumed, and must not be used up.
func TestASessionIsNotUsedUpUnderAnotherHash(t *testing.T) {
	for _, cache := range []*ServerCache{{}, {Store: Seal(newShelf(), newFleet().keys)}} {
		h := newHouse(t, cache, byListener)
		v := cache.core().view(h.base)
		long := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_256_GCM_SHA384}
		short := long
		short.CipherSuite = tls.TLS_AES_128_GCM_SHA256
		for _, way := range [][2]*tls.ConnectionState{{&long, &short}, {&short, &long}} {
			label := v.wrap(nil, way[0], serverState(t, h))
			require.Nil(t, v.unwrap(nil, label, way[1]))
			require.NotNil(t, v.unwrap(nil, label, way[0]))
		}
		chacha := short
		chacha.CipherSuite = tls.TLS_CHACHA20_POLY1305_SHA256
		require.NotNil(t, v.unwrap(nil, v.wrap(nil, &short, serverState(t, h)), &chacha), "the same hash")
	}
}
