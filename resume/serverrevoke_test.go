package resume

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A TLS 1.2 session is out of the store for as long as a resumption takes to
// put it back. To revoke it just then must not be taken for having come too
// late: it would resume for another day, and no further Remove would end it.
func TestATLS12SessionIsRevokedWhileAServerHasItInHand(t *testing.T) {
	for _, where := range []string{"the same server", "another server"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRow(t, 2, byListener, tls12)
				h, busy := r.servers[0], r.servers[0]
				if where == "another server" {
					busy = r.servers[1]
				}
				_, first := h.call(nil)
				label := ticketOf(t, first)
				s := h.cache.Get1Session(h.accepted())
				defer s.Release()

				r.shelf.slow("reply", 20*time.Millisecond)
				resumed := make(chan bool)
				go func() {
					ok, _ := busy.call(retold(t, first, label))
					resumed <- ok
				}()
				time.Sleep(10 * time.Millisecond)
				assert.Zero(t, r.shelf.size(), "it is in hand")
				assert.True(t, h.cache.Remove(s))
				assert.Equal(t, "removed", s.Reason())
				require.True(t, <-resumed, "this connection goes on")
				again, _ := h.call(retold(t, first, label))
				require.False(t, again)
				require.Equal(t, 1, r.shelf.size(), "what that connection was sent")
			})
		})
	}
}

// What is gone for good is not waited for longer than anybody has it in hand.
func TestRevokingWhatIsGoneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener, tls12)
		h := r.servers[0]
		h.call(nil)
		s := h.cache.Get1Session(h.accepted())
		defer s.Release()
		require.NoError(t, r.shelf.Clear(t.Context()))
		began := time.Now()
		require.False(t, h.cache.Remove(s))
		require.LessOrEqual(t, time.Since(began), 3*takeDeadline)
		require.False(t, s.Resumable())
	})
}
