package resume

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An unheeded connection takes deadlines and does nothing with them, as many an
// adapter of a stream to net.Conn does.
type unheeded struct{ net.Conn }

func (unheeded) SetDeadline(time.Time) error      { return nil }
func (unheeded) SetReadDeadline(time.Time) error  { return nil }
func (unheeded) SetWriteDeadline(time.Time) error { return nil }

// tls.Conn closes such a connection at once. Looking for tickets must not keep
// it open until the server says something.
func TestCloseEndsWhereDeadlinesHaveNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		conn := new(ClientCache).NewScope().NewConn(unheeded{p.serve()}, p.client)
		require.NoError(t, conn.Handshake())
		began := time.Now()
		conn.Close()
		require.LessOrEqual(t, time.Since(began), 2*drainTime)
		require.ErrorIs(t, conn.NetConn().(unheeded).Conn.SetReadDeadline(time.Time{}), net.ErrClosed)
		require.NotNil(t, conn.Get0Session(), "the ticket that had come")
	})
}
