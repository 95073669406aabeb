package resume

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A peer is a TLS server in memory, with the client configuration that trusts
// it. Each connection gets its ticket with the first byte it reads.
type peer struct {
	server *tls.Config
	client *tls.Config
	seen   *tlstest.Identities
}

const serverName = "server.test"

func newPeer(t testing.TB, change ...func(server, client *tls.Config)) *peer {
	t.Helper()
	ca := tlstest.Must(tlstest.NewCA("root"))
	p := &peer{
		server: &tls.Config{Certificates: []tls.Certificate{
			tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{serverName, "other.test"}})),
		}},
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: serverName},
		seen:   new(tlstest.Identities),
	}
	for _, f := range change {
		f(p.server, p.client)
	}
	p.server = tlstest.Counting(p.server, p.seen)
	return p
}

func tls12(server, _ *tls.Config) { server.MaxVersion = tls.VersionTLS12 }

// serve answers one connection: an 'x' for everything it reads.
func (p *peer) serve() net.Conn {
	client, server := tlstest.Pipe()
	go func() {
		defer server.Close()
		conn := tls.Server(server, p.server)
		if conn.Handshake() != nil {
			// crypto/tls leaves without a word when UnwrapSession fails (rule
			// T18). Other servers say internal_error.
			server.Write([]byte{21, 3, 3, 0, 2, 2, 80})
			return
		}
		for buf := make([]byte, 64); ; {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	return client
}

// exchange sends a byte and reads one, which brings the ticket.
func exchange(t testing.TB, conn io.ReadWriter) {
	t.Helper()
	_, err := conn.Write([]byte("?"))
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1))
	require.NoError(t, err)
}

// bound makes a connection of the bound way, with its handshake done and, if
// read, its ticket received. It is closed when the test ends.
func (p *peer) bound(t testing.TB, scope *Scope, read bool) *Conn {
	t.Helper()
	conn := scope.NewConn(p.serve(), p.client)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.Handshake())
	if read {
		exchange(t, conn)
	}
	return conn
}

// plain makes a connection of another way: the configuration carries the
// cache.
func (p *peer) plain(t testing.TB, config *tls.Config) tls.ConnectionState {
	t.Helper()
	conn := tls.Client(p.serve(), config)
	defer conn.Close()
	exchange(t, conn)
	return conn.ConnectionState()
}

// plugged is the client configuration with a cache in it.
func (p *peer) plugged(cache tls.ClientSessionCache) *tls.Config {
	config := p.client.Clone()
	config.ClientSessionCache = cache
	return config
}

// sessions fetches n fresh session states, each received by a cache of its own.
func (p *peer) states(t testing.TB, n int) (states []*tls.ClientSessionState) {
	t.Helper()
	for range n {
		store := new(keeper)
		p.plain(t, p.plugged(store))
		require.Len(t, store.got, 1)
		states = append(states, store.got[0])
	}
	return states
}

// A keeper is a ClientSessionCache that keeps all and offers none.
type keeper struct{ got []*tls.ClientSessionState }

func (k *keeper) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (k *keeper) Put(_ string, cs *tls.ClientSessionState)   { k.got = append(k.got, cs) }

// checkStats holds that every captured session is counted in one place.
func checkStats(t testing.TB, c *ClientCache) Stats {
	t.Helper()
	st := c.Stats()
	sum := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed + st.Kept
	require.Equal(t, st.Captured+st.Fetched, sum+st.Stored, st.String())
	return st
}

// kinds are the kinds of events, in order.
func kinds(events []Event) (got []EventKind) {
	for _, e := range events {
		got = append(got, e.Kind)
	}
	return got
}

var day = 24 * time.Hour
