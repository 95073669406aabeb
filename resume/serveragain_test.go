package resume

import (
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A TLS 1.2 session that the store did not take is one session in memory, by
// whichever of its connections it is known: it is revoked by the first handle
// after its tenth resumption, and no bound has pushed it out.
func TestATLS12SessionThatTheStoreDidNotTakeStaysOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener, tls12)
		h := r.servers[0]
		r.shelf.fail(errors.New("down"))
		_, first := h.call(nil)
		label := ticketOf(t, first)
		s := h.cache.Get1Session(h.accepted())
		defer s.Release()
		for range 10 {
			resumed, next := h.call(retold(t, first, label))
			require.True(t, resumed)
			require.Equal(t, label, ticketOf(t, next))
			require.True(t, s.Same(h.cache.Get0Session(h.accepted())))
		}
		require.Equal(t, Resumable, s.Status())
		st := checkServerStats(t, h.cache)
		require.Zero(t, st.Evicted)
		require.EqualValues(t, 1, st.Captured)
		require.True(t, h.cache.Remove(s))
		resumed, _ := h.call(retold(t, first, label))
		require.False(t, resumed)
	})
}

// Remove holds for a connection that is just resuming the session and waits for
// the store.
func TestATLS12SessionRemovedWhileTheStoreFailsStaysRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener, tls12)
		h := r.servers[0]
		r.shelf.fail(errors.New("down"))
		_, first := h.call(nil)
		s := h.cache.Get1Session(h.accepted())
		defer s.Release()
		r.shelf.slow("put", 20*time.Millisecond)
		next := make(chan *tls.ClientSessionState)
		go func() {
			_, got := h.call(first)
			next <- got
		}()
		time.Sleep(10 * time.Millisecond)
		removed := h.cache.Remove(s)
		got := <-next
		require.True(t, removed)
		resumed, _ := h.call(got)
		require.False(t, resumed)
	})
}

// When its connections are gone and it was removed, nobody refers to it.
func TestATLS12SessionThatIsSentAgainIsFreed(t *testing.T) {
	h := newHouse(t, new(ServerCache), byListener, tls12)
	_, first := h.call(nil)
	label := ticketOf(t, first)
	s := h.cache.Get0Session(h.accepted())
	conns := []interface{ Close() error }{h.accepted()}
	for range 3 {
		resumed, _ := h.call(retold(t, first, label))
		require.True(t, resumed)
		conns = append(conns, h.accepted())
	}
	require.True(t, h.cache.Remove(s))
	require.Equal(t, Removed, s.Status())
	for _, conn := range conns {
		conn.Close()
	}
	require.Equal(t, Freed, s.Status())
}
