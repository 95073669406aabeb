package resume

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// ways are the methods of a Dialer that return a connection.
func ways(d *Dialer) map[string]func(network, addr string) (net.Conn, error) {
	return map[string]func(network, addr string) (net.Conn, error){
		"Dial": func(network, addr string) (net.Conn, error) { return d.Dial(network, addr) },
		"DialContext": func(network, addr string) (net.Conn, error) {
			return d.DialContext(context.Background(), network, addr)
		},
		"DialTLSContext": func(network, addr string) (net.Conn, error) {
			return d.DialTLSContext(context.Background(), network, addr)
		},
	}
}

func TestADialerWithoutAScopeDialsNobody(t *testing.T) {
	dialled := false
	d := &Dialer{Config: new(tls.Config), NetDialer: &net.Dialer{
		Control: func(string, string, syscall.RawConn) error { dialled = true; return nil },
	}}
	for _, none := range []*Scope{nil, new(Scope)} {
		d.Scope = none
		for name, dial := range ways(d) {
			_, err := dial("tcp", "127.0.0.1:1")
			require.EqualError(t, err, "resume: Dialer has no Scope", name)
		}
		_, err := d.Warm(t.Context(), "tcp", "127.0.0.1:1", 1)
		require.ErrorIs(t, err, errNoScope)
	}
	require.False(t, dialled)
	require.Equal(t, "Dialer(Scope(none))", d.String())
}

// As with tls.Dialer, a server that accepts and then says nothing is given up
// on in time; a session that was to be used is given back or used up, and the
// connection is closed.
func TestTheNetDialersLimitsBoundTheHandshake(t *testing.T) {
	for name, limit := range map[string]func() *net.Dialer{
		"Timeout":  func() *net.Dialer { return &net.Dialer{Timeout: 30 * time.Millisecond} },
		"Deadline": func() *net.Dialer { return &net.Dialer{Deadline: time.Now().Add(30 * time.Millisecond)} },
	} {
		mute := tlstest.Must(net.Listen("tcp", "127.0.0.1:0"))
		defer mute.Close()
		c := new(ClientCache)
		d := &Dialer{Scope: c.NewScope(), Config: &tls.Config{ServerName: serverName}}
		for way := range ways(d) {
			d.NetDialer = limit()
			_, err := ways(d)[way]("tcp", mute.Addr().String())
			require.ErrorIs(t, err, context.DeadlineExceeded, "%s %s", way, name)
			conn := tlstest.Must(mute.Accept())
			defer conn.Close()
			_, err = io.Copy(io.Discard, conn)
			require.NoError(t, err, "the connection is not left open")
		}
		require.Zero(t, c.Stats().Full)
	}
}

// A nil connection that is no nil net.Conn is a trap for its caller.
func TestAFailedDialReturnsNoConnection(t *testing.T) {
	d := &Dialer{Scope: new(ClientCache).NewScope()}
	conn, err := d.DialTLSContext(t.Context(), "tcp", "127.0.0.1:1")
	require.Error(t, err)
	require.True(t, conn == nil)
	bound, err := d.Dial("tcp", "127.0.0.1:1")
	require.Error(t, err)
	require.True(t, bound == nil)
}

// An address without a port, as on a Unix socket, is found under the server's
// name alone; all else is as over TCP.
func TestAServerOnAUnixSocketIsResumedByItsName(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	path := filepath.Join(t.TempDir(), "tls")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	listener := tls.NewListener(inner, p.server)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	d := &Dialer{Scope: c.NewScope(), Config: p.client}
	for turn := range 3 {
		conn, err := d.Dial("unix", path)
		require.NoError(t, err)
		require.Equal(t, turn > 0, conn.ConnectionState().DidResume)
		exchange(t, conn)
		found := d.Scope.Get1Session(serverName)
		require.True(t, found.Same(conn.Get0Session()))
		require.Equal(t, path, found.Info().Endpoint, "as RemoteAddr has it")
		found.Release()
		require.NoError(t, conn.Shutdown(t.Context()))
	}
	require.Zero(t, p.seen.Counts().Reused)
	require.Equal(t, 2, p.seen.Counts().Offered)
}

// Whichever call runs the handshake returns its error, and again: nobody is to
// take a server that was not trusted for one that has no tickets.
func TestEveryCallReturnsTheHandshakesError(t *testing.T) {
	p := newPeer(t)
	untrusting := &tls.Config{ServerName: serverName}
	for name, call := range map[string]func(*Conn) error{
		"Read":      func(c *Conn) error { return second(c.Read(make([]byte, 1))) },
		"Write":     func(c *Conn) error { return second(c.Write([]byte("?"))) },
		"Handshake": (*Conn).Handshake,
		"WaitSession": func(c *Conn) error {
			s, err := c.WaitSession(context.Background())
			require.Nil(t, s)
			return err
		},
	} {
		conn := new(ClientCache).NewScope().NewConn(p.serve(), untrusting)
		for range 2 {
			var unknown *tls.CertificateVerificationError
			require.ErrorAs(t, call(conn), &unknown, name)
			require.Nil(t, conn.Get0Session(), name)
			require.Nil(t, conn.Get1Session(), name)
		}
		conn.Close()
	}
}

// A nil configuration is the zero one, which trusts nobody by name: an error of
// crypto/tls, and no panic.
func TestANilConfigurationNamesNobody(t *testing.T) {
	p := newPeer(t)
	conn := new(ClientCache).NewScope().NewConn(p.serve(), nil)
	defer conn.Close()
	require.ErrorContains(t, conn.Handshake(), "either ServerName or InsecureSkipVerify must be specified")
	require.Equal(t, "pipe", conn.LocalAddr().String())
}

// What a Conn passes on of its tls.Conn is that connection's.
func TestAConnAnswersForItsTLSConn(t *testing.T) {
	p := newPeer(t)
	certificates := certificatesOf(t, p)
	certificates[0].OCSPStaple = []byte("a staple")
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: certificates}}))
	defer server.Close()
	d := &Dialer{Scope: new(ClientCache).NewScope(), Config: p.client}
	for range 2 { // a resumed one has no staple of its own, and shows the first
		conn, err := d.Dial("tcp", server.Addr)
		require.NoError(t, err)
		exchange(t, conn)
		require.Equal(t, []byte("a staple"), conn.OCSPResponse())
		require.NoError(t, conn.VerifyHostname(serverName))
		require.Error(t, conn.VerifyHostname("elsewhere.test"))
		require.Equal(t, conn.NetConn().LocalAddr(), conn.LocalAddr())
		require.Equal(t, server.Addr, conn.RemoteAddr().String())
		require.NoError(t, conn.Close())
	}
}
