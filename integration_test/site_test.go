package integration_test

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/expect"
)

const (
	// host is the name of a site, unless a test says otherwise.
	host = "server.test"

	// patience bounds everything a test waits for.
	patience = 20 * time.Second
)

// A site is a Go server on loopback and the client configuration that trusts
// it.
type site struct {
	*tlstest.Server
	ca     *tlstest.CA
	server *tls.Config
	client *tls.Config
}

// A setup is what a test changes about its site.
type setup struct {
	names  []string          // the server's; nil: host
	server func(*tls.Config) // changes its configuration
	handle func(net.Conn)    // nil: echo
}

func newSite(t testing.TB, with setup) *site {
	t.Helper()
	leakCheck(t)
	if with.names == nil {
		with.names = []string{host}
	}
	ca := tlstest.Must(tlstest.NewCA("root"))
	s := &site{
		ca:     ca,
		server: &tls.Config{Certificates: []tls.Certificate{issue(ca, with.names...)}},
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: with.names[0]},
	}
	if with.server != nil {
		with.server(s.server)
	}
	s.Server = serve(t, tlstest.Options{Config: s.server, Handle: with.handle})
	return s
}

func issue(ca *tlstest.CA, names ...string) tls.Certificate {
	return tlstest.Must(ca.Issue(tlstest.Leaf{Names: names}))
}

func serve(t testing.TB, opts tlstest.Options) *tlstest.Server {
	t.Helper()
	server, err := tlstest.NewServer(opts)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server
}

// restart ends the server and starts one at the same address, with further
// changes to its configuration. What it counts goes on.
func (s *site) restart(t testing.TB, change ...func(*tls.Config)) {
	t.Helper()
	s.Server.Close()
	s.server = s.server.Clone()
	for _, f := range change {
		f(s.server)
	}
	s.Server = serve(t, tlstest.Options{Config: s.server, Addr: s.Addr, Identities: s.Identities})
}

// Changes to a configuration.

func onlyTLS12(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }

// onlyP256, in a client, saves time: that curve is assembly, and the race
// detector makes the others slow. In a server it causes a HelloRetryRequest.
func onlyP256(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }

// newKeys makes every ticket given out so far worthless.
func newKeys(c *tls.Config) {
	var key [32]byte
	rand.Read(key[:])
	c.SetSessionTicketKeys([][32]byte{key})
}

// with is the client configuration, changed.
func (s *site) with(change func(*tls.Config)) *tls.Config {
	config := s.client.Clone()
	change(config)
	return config
}

// What every test expects.
var (
	leakCheck      = expect.NoLeaks
	requireNoReuse = expect.NoReuse
	newCache       = expect.Books
)

// onlyOnce makes a server send one ticket that is worth something, and then
// empty ones, which TLS 1.2 takes for none (RFC 5077, Section 3.3).
func onlyOnce(keys *tls.Config) func(tls.ConnectionState, *tls.SessionState) ([]byte, error) {
	var sent atomic.Bool
	return func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		if sent.Swap(true) {
			return nil, nil
		}
		return keys.EncryptTicket(cs, state)
	}
}

// rawConn is a TCP connection.
func rawConn(t testing.TB, addr string) net.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	return raw
}

func splitAddr(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return host, port
}
