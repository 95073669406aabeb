package resume

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A session that went to the store is told of by the server that takes it there,
// once, whatever it takes it for.
func TestAStoredSessionsEndIsToldByWhoTakesIt(t *testing.T) {
	for _, row := range []struct {
		why  string
		age  time.Duration
		ends string
	}{
		{"resumed", 0, "used"},
		{"too old for this server", 2 * time.Hour, "lifetime"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet()
			var mu sync.Mutex // guards told
			var told []string // by whom, and of what
			server := func(name string) *ServerCache {
				return &ServerCache{Store: Seal(f.shelf, f.keys), RemoveSession: func(s *Session) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, name+" "+s.Reason())
				}}
			}
			here, there := server("here"), server("there")
			there.Lifetime = time.Hour
			h := newHouse(t, here, byListener)
			other := h.sibling(there, byListener)
			_, cs := h.call(nil)
			time.Sleep(row.age)
			resumed, _ := other.call(cs)
			require.Equal(t, row.ends == "used", resumed, row.why)
			resumed, _ = h.call(cs)
			require.False(t, resumed)
			require.Equal(t, []string{"there " + row.ends}, told, row.why)
			checkServerStats(t, here)
			checkServerStats(t, there)
		})
	}
}

// Each call of the store gives back what it takes of their number.
func TestAStoreIsAskedAnyNumberOfTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		h := r.servers[0]
		_, cs := h.call(nil)
		var resumed bool
		for range maxStoreCalls {
			resumed, cs = h.call(cs)
			require.True(t, resumed)
		}
		require.Equal(t, 1, r.shelf.size())
		require.Empty(t, r.failures())
	})
}

// It takes several calls in a row that are too slow for the store to be left
// alone: now and then one is anywhere.
func TestAStoreThatIsSlowNowAndThenIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		h := r.servers[0]
		for range 2 * maxLateCalls {
			r.shelf.slow("put", 10*time.Second)
			h.call(nil)
			r.shelf.slow("put", 0)
			before := r.shelf.size()
			h.call(nil)
			require.Equal(t, before+1, r.shelf.size())
		}
		time.Sleep(time.Minute)
	})
}

// Of the tickets of a ClientHello the first that was made here says why the
// handshake is a full one.
func TestAStrangersTicketDoesNotHideWhyOursWasRefused(t *testing.T) {
	h := newHouse(t, new(ServerCache), byListener)
	_, first := h.call(nil)
	label := ticketOf(t, first)
	resumed, _ := h.call(first)
	require.True(t, resumed)
	v := h.cache.core().view(h.base)
	link := &serverLink{core: h.cache.core()}
	link.wire = serverWire{Conn: deadConn{Conn: new(net.TCPConn)}, link: link}
	cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	for _, identity := range [][]byte{[]byte("another's"), label, label, []byte("another's")} {
		require.Nil(t, v.unwrap(link, identity, &cs))
	}
	require.Equal(t, missGone, link.missing)
}

// A connection refers to the last session that it was sent, and lets the one
// before go.
func TestAConnectionHoldsTheLastOfItsSessions(t *testing.T) {
	h := newHouse(t, new(ServerCache), byListener)
	v := h.cache.core().view(h.base)
	link := &serverLink{core: h.cache.core()}
	link.wire = serverWire{Conn: deadConn{Conn: new(net.TCPConn)}, link: link}
	cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	v.wrap(link, &cs, serverState(t, h))
	first := link.session().borrow()
	v.wrap(link, &cs, serverState(t, h))
	require.False(t, first.Same(link.session().borrow()))
	require.True(t, h.cache.Remove(first))
	require.Equal(t, Freed, first.Status())
}

// A connection that is asked for its session only when it is over has none.
func TestAnEndedConnectionGetsNoSessionOfItsOwn(t *testing.T) {
	h := newHouse(t, new(ServerCache), byListener, func(server, _ *tls.Config) { server.SessionTicketsDisabled = true })
	h.call(nil)
	require.Equal(t, Pending, h.cache.Get0Session(h.accepted()).Status())
	h.call(nil)
	h.accepted().Close()
	require.Nil(t, h.cache.Get0Session(h.accepted()))
}
