package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// One TLS 1.2 session serves all connections: there is nothing to refill.
func TestNearTierAsksForNoTLS12Session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		p.client.MaxVersion = tls.VersionTLS12
		c := f.nearby(t, 8)
		scope := c.Scope("tenant")
		scope.Put(serverName, p.states(t, 1)[0])
		flush(t, c)
		for range 10 {
			_, ok := scope.Get(serverName)
			require.True(t, ok)
			<-time.After(2 * nearPause)
		}
		require.Zero(t, f.shelf.taken())
		require.Equal(t, 1, checkStats(t, c).Pooled)
	})
}
