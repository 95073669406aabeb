package resume

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
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

// The store may have one receipt of a TLS 1.2 session and not the other.
func TestRemovedTLS12SessionLeavesNoTwinInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, first := newFleet(), newPeer(t, tls12).states(t, 1)[0]
		again, err := copyState(first)
		require.NoError(t, err)
		c := f.cache(t)
		scope := c.Scope("tenant")
		f.shelf.fail(cache.ErrNotStored)
		scope.Put(serverName, first)
		h := scope.Get1Session(serverName)
		defer h.Release()
		synctest.Wait()
		require.Nil(t, h.s.filed.Load())
		f.shelf.fail(nil)
		scope.Put(serverName, again)
		synctest.Wait()
		require.Equal(t, 1, f.shelf.size())
		require.Nil(t, h.s.filed.Load())
		require.True(t, c.Remove(h))
		synctest.Wait()
		require.Zero(t, f.shelf.size())
	})
}
