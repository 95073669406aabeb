package resume

import (
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
