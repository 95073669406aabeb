package resume

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A server that is gone is dialled by those under way, and not once for each
// session that is missing.
func TestWarmBeginsNoDialAfterOneThatFailed(t *testing.T) {
	p := newPeer(t)
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: p.server}))
	defer server.Close()
	gone := errors.New("gone")
	var dials atomic.Int32
	d := &Dialer{Scope: new(ClientCache).NewScope(), Config: p.client, NetDialer: &net.Dialer{
		Control: func(string, string, syscall.RawConn) error {
			if dials.Add(1) > 1 {
				return gone
			}
			return nil
		},
	}}
	have, err := d.Warm(t.Context(), "tcp", server.Addr, 64)
	require.ErrorIs(t, err, gone)
	require.Equal(t, 1, have)
	require.LessOrEqual(t, int(dials.Load()), 1+warmParallel)
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
