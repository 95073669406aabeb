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
		{"near", 2 * ms, 2 * ms, ms / 2, 1, 1 * ms},
		{"near, and the ticket late", 2 * ms, 2 * ms, 3 * ms, 0, 1 * ms},
		{"near and somewhat busy", 1 * ms, 3 * ms, 5 * ms, 1, 6 * ms},
		{"near and busy", 1 * ms, 8 * ms, 15 * ms, 1, 16 * ms},
		{"near and too busy", 1 * ms, 8 * ms, 17 * ms, 0, 16 * ms},
		{"near and standing still", 1 * ms, 60 * ms, time.Second, 0, drainTime},
		{"not so near, and busy", 8 * ms, 12 * ms, 20 * ms, 1, 24 * ms},
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

// How far an endpoint is away is what connecting took when it took the least,
// for as long as that is likely to be true.
func TestLeastTimeToConnectIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m endpointMemo
		at := func(port int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port} }
		require.Equal(t, 5*time.Millisecond, m.nearest(at(443), 5*time.Millisecond))
		require.Equal(t, 3*time.Millisecond, m.nearest(at(443), 3*time.Millisecond))
		require.Equal(t, 3*time.Millisecond, m.nearest(at(443), 9*time.Millisecond))
		require.Equal(t, "192.0.2.1:443", m.text(at(443)))
		require.Equal(t, 3*time.Millisecond, m.nearest(at(443), 9*time.Millisecond))
		require.Equal(t, 7*time.Millisecond, m.nearest(at(444), 7*time.Millisecond), "another endpoint")
		time.Sleep(nearestTime)
		require.Equal(t, 9*time.Millisecond, m.nearest(at(443), 9*time.Millisecond), "the route may have changed")
		require.Equal(t, time.Millisecond, m.nearest(nil, time.Millisecond))
		require.Equal(t, time.Millisecond, m.nearest(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, time.Millisecond))
	})
}

// It is what a Dialer's connections go by.
func TestDialerKnowsHowFarItsServerIs(t *testing.T) {
	p := newPeer(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", p.server)
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			conn.(*tls.Conn).Handshake()
			defer conn.Close()
		}
	}()
	d := &Dialer{Scope: new(ClientCache).NewScope(), Config: p.client}
	endpoints.nearest(listener.Addr().(*net.TCPAddr), 1)
	conn, err := d.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, time.Duration(1), conn.wire.connect)
}
