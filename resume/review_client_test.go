package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A TLS 1.2 session that the store has may be in the pool a second time, since
// who takes it puts it back. To remove one is to remove the session.
func TestRemovedTLS12SessionIsOfferedByNoTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, states := newFleet(), newPeer(t, tls12).states(t, 2)
		c := f.cache(t)
		c.MaxServers = 1
		scope := c.Scope("tenant")
		scope.Put(serverName, states[0])
		h := scope.Get1Session(serverName)
		defer h.Release()
		flush(t, c)
		scope.Put("other.test", states[1])
		require.Equal(t, "evicted", h.Reason(), "for the other server's")
		_, ok := scope.Get(serverName)
		require.True(t, ok, "from the store")
		require.True(t, c.Remove(h))
		_, ok = scope.Get(serverName)
		require.False(t, ok)
		flush(t, c)
		_, ok = scope.Get(serverName)
		require.False(t, ok)
	})
}

// A server may send the ticket of a TLS 1.2 session again on each connection
// that it resumes, as a ServerCache does. They are one session.
func TestRemovedTLS12SessionIsNotOfferedUnderAnEarlierReceipt(t *testing.T) {
	h := newHouse(t, new(ServerCache), byListener, tls12)
	c := new(ClientCache)
	scope := c.NewScope()
	dial := func() *Conn {
		conn := scope.NewConn(h.raw(), h.client)
		t.Cleanup(func() { conn.Close() })
		exchange(t, conn)
		return conn
	}
	first := dial()
	for range 3 {
		again := dial()
		require.True(t, again.ConnectionState().DidResume)
		require.Equal(t, first.Get0Session().Info().ID, again.Get0Session().Info().ID)
	}
	require.True(t, c.Remove(first.Get0Session()))
	require.False(t, dial().ConnectionState().DidResume)
}

// Whether a session was pushed out of the pool while it was being written makes
// no difference to what its connection's end means for it.
func TestAlertForfeitsASessionThatIsEvictedWhileItIsWritten(t *testing.T) {
	for _, stores := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, mint := newFleet(), newMint(t)
			f.shelf.slow("put", 10*time.Millisecond)
			var store cache.Store = f.shelf
			if !stores {
				store = slowFailure{f.shelf}
			}
			c := &ClientCache{Store: Seal(store, f.keys), TicketsPerServer: 1}
			scope := c.Scope("tenant")
			conn := receiver(scope)
			conn.shim.Put(serverName, mint.session())
			h := conn.Get1Session()
			synctest.Wait() // the writer has it
			other := receiver(scope)
			other.shim.Put(serverName, mint.session())
			assert.Equal(t, stowingEvicted, h.s.verdict.Load())
			conn.forfeit(failedAlert)
			time.Sleep(time.Second)
			assert.Equal(t, Failed, h.Status())
			assert.Equal(t, "alert", h.Reason())
			h.Release()
			conn.Close()
			other.Close()
			ignoreIf(!stores, c.Close())
			if stores {
				assert.Equal(t, 1, f.shelf.size(), "the other")
			}
		})
	}
}

// The writer has stored a session and has not taken it out of the pool yet: a
// bound that does it has not ended the session.
func TestStoredSessionThatIsEvictedHasNotEnded(t *testing.T) {
	for _, v := range []verdict{stored, reclaiming} {
		f, mint := newFleet(), newMint(t)
		var left []string
		c := &ClientCache{
			Store: Seal(f.shelf, f.keys), TicketsPerServer: 1, NearTickets: 1,
			RemoveSession: func(s *Session) { left = append(left, s.String()) },
		}
		scope := c.Scope("tenant")
		scope.Get(serverName) // which makes the server a busy one
		scope.Put(serverName, mint.session())
		h := scope.Get1Session(serverName)
		h.s.verdict.Store(v)
		scope.Put(serverName, mint.session())
		require.Equal(t, v, h.s.verdict.Load())
		require.Empty(t, left)
		h.Release()
		require.NoError(t, c.Close())
	}
}

// listening is a server on loopback and a Dialer for it.
func listening(t *testing.T, c *ClientCache) (*Dialer, string) {
	p := newPeer(t)
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: certificatesOf(t, p)}}))
	t.Cleanup(server.Close)
	return &Dialer{Scope: c.NewScope(), Config: p.client}, server.Addr
}

// Warm says that the field Session is not used.
func TestWarmDoesNotUseTheDialersSession(t *testing.T) {
	d, addr := listening(t, new(ClientCache))
	conn, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	exchange(t, conn)
	session := conn.Get1Session()
	defer session.Release()
	require.NoError(t, conn.Close())
	d.Session = session
	for range 2 { // the second time of a session that was used up
		have, err := d.Warm(t.Context(), "tcp", addr, 3)
		require.NoError(t, err)
		require.Equal(t, 3, have)
		if conn, err = d.Dial("tcp", addr); err == nil {
			conn.Close()
		}
		require.Equal(t, Used, session.Status())
	}
}

// ErrNoTicket is for whatever keeps a session from coming, and a cache that is
// closed keeps none.
func TestNoSessionIsWaitedForOnceTheCacheIsClosed(t *testing.T) {
	var c ClientCache
	d, addr := listening(t, &c)
	early, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	defer early.Close()
	require.NoError(t, c.Close())
	late, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	defer late.Close()
	for _, conn := range []*Conn{early, late} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = conn.WaitSession(ctx)
		require.True(t, errors.Is(err, ErrNoTicket), "%v", err)
	}
}
