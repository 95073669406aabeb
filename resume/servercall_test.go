package resume

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who shares another's wait for the store has waited as well.
func TestAHandshakeThatSharesATakeWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener, tls12)
		h := r.servers[0]
		_, first := h.call(nil)
		label := ticketOf(t, first)
		r.shelf.slow("take", time.Second)
		r.shelf.slow("put", time.Second)
		began := time.Now()
		var all sync.WaitGroup
		for range 3 {
			conn := h.dial(&offer{held: retold(t, first, label)})
			all.Go(func() { assert.NoError(t, conn.Handshake()) })
		}
		all.Wait()
		require.Equal(t, takeDeadline, time.Since(began))
		<-time.After(time.Minute)
	})
}
