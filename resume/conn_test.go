package resume

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// To close the writing side as soon as crypto/tls allows it, before the
// connection has noted how the handshake ended, touches nothing that noting it
// does. The race detector is the judge.
func TestCloseWriteAtTheEndOfAHandshakeRacesWithNothing(t *testing.T) {
	p, scope := newPeer(t), new(ClientCache).NewScope()
	for range 50 {
		p.bound(t, scope, true)
		c := scope.NewConn(p.serve(), p.client)
		done := make(chan error, 1)
		go func() { done <- c.Handshake() }()
		for c.CloseWrite() != nil { // until the handshake is over
		}
		require.NoError(t, <-done)
		c.Close()
	}
}
