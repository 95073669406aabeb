package resume

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A slow connection sends what it is given one after the other, each after so
// long.
type slow struct {
	net.Conn
	delays []time.Duration
}

func (s *slow) Write(b []byte) (int, error) {
	if len(s.delays) > 0 {
		time.Sleep(s.delays[0])
		s.delays = s.delays[1:]
	}
	return s.Conn.Write(b)
}

// Close waits for a ticket from a server that is near, and from one that is
// near and busy, but not from one that is far away. (A pipe cannot be looked
// into: there it waits whatever comes.)
func TestCloseWaitsForABusyServerAndForNoDistantOne(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		why             string
		connect         time.Duration
		hello, ticket   time.Duration // what the server takes for its first flight, and then
		captured, waits time.Duration
	}{
		{"near", 1 * ms, 2 * ms, ms / 2, 1, 1 * ms},
		{"near, and the ticket late", 1 * ms, 2 * ms, 3 * ms, 0, 1 * ms},
		{"near and busy", 1 * ms, 8 * ms, 4 * ms, 1, 8 * ms},
		{"near and too busy", 1 * ms, 8 * ms, 9 * ms, 0, 8 * ms},
		{"near and standing still", 1 * ms, 60 * ms, time.Second, 0, drainTime},
		{"not so near, and busy", 8 * ms, 12 * ms, 10 * ms, 1, 12 * ms},
		{"far", 8 * ms, 8 * ms, 4 * ms, 0, 0},
		{"far, and busy", 40 * ms, 60 * ms, 4 * ms, 0, 0},
		{"not known how far", 0, 8 * ms, 4 * ms, 0, 0},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// A server that asks for a certificate sends its ticket last.
				p, c := newPeer(t, func(server, _ *tls.Config) { server.ClientAuth = tls.RequestClientCert }), new(ClientCache)
				client, server := tlstest.Pipe()
				go func() {
					conn := tls.Server(&slow{server, []time.Duration{row.hello, row.ticket}}, p.server)
					conn.Handshake()
					conn.Read(make([]byte, 1))
					conn.Close()
				}()
				conn := c.NewScope().NewConn(client, p.client)
				conn.wire.connect = row.connect
				require.NoError(t, conn.Handshake())
				began := time.Now()
				require.NoError(t, conn.Close())
				require.Equal(t, row.waits, time.Since(began).Round(ms/2))
				require.EqualValues(t, row.captured, c.Stats().Captured)
				time.Sleep(2 * time.Second) // until the server has given up
			})
		})
	}
}
