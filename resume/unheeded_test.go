package resume

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
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

// A stuck connection is unheeded, and its writes end when it is closed.
type stuck struct {
	unheeded
	writes atomic.Bool // they are
	once   sync.Once
	closed chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	if s.writes.Load() {
		<-s.closed
		return 0, net.ErrClosed
	}
	return s.unheeded.Write(b)
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.unheeded.Close()
}

// A Write may begin at any moment of Close, which waits for no Write.
func TestCloseEndsBesideAWriteThatBeginsMeanwhile(t *testing.T) {
	for _, at := range []time.Duration{0, drainTime / 2, drainTime + drainTime/2} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t, func(server, _ *tls.Config) { server.SessionTicketsDisabled = true })
			raw := &stuck{unheeded: unheeded{p.serve()}, closed: make(chan struct{})}
			conn := new(ClientCache).NewScope().NewConn(raw, p.client)
			require.NoError(t, conn.Handshake())
			raw.writes.Store(true)
			began := time.Now()
			time.AfterFunc(at, func() { conn.Write([]byte("x")) })
			defer time.AfterFunc(time.Minute, func() { raw.Close() }).Stop()
			synctest.Wait()
			conn.Close()
			require.LessOrEqual(t, time.Since(began), 2*drainTime, "a Write after %v", at)
			synctest.Wait()
		})
	}
}
