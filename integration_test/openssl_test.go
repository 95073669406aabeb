package integration_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
	"github.com/tlsresume/tlsresume/resume"
)

// peerMissing skips the test, or fails it where CI promises the peer.
func peerMissing(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
		t.Fatalf("peers are required: %v", why)
	}
	t.Skipf("without this peer: %v", why)
}

// An openSSL is an openssl s_server, and a client configuration that trusts
// it. It is reached through proxies, which count what goes by on the wire.
type openSSL struct {
	*peer.Server
	client *tls.Config
}

func newOpenSSL(t testing.TB, args ...string) *openSSL {
	t.Helper()
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	server, err := peer.OpenSSL(args...).Start(issue(ca, host))
	if errors.Is(err, peer.ErrMissing) {
		peerMissing(t, err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return &openSSL{Server: server, client: &tls.Config{RootCAs: ca.Pool(), ServerName: host}}
}

func (o *openSSL) proxy(t testing.TB, parallel int) *tlstest.Proxy {
	t.Helper()
	proxy, err := tlstest.NewProxy(o.Addr, parallel)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	return proxy
}

// glance makes a connection that does not read, and so brings no ticket. The
// raw connection is closed first: a Close may read what has arrived.
func (e entry) glance(t testing.TB, addr string) (resumed bool) {
	t.Helper()
	conn := e.connect(t, addr)
	resumed = conn.ConnectionState().DidResume
	require.NoError(t, conn.NetConn().Close())
	conn.Close()
	return resumed
}

// drain makes as many resumed connections as there are tickets, and then a
// full one.
func (e entry) drain(t testing.TB, addr string, tickets int) {
	t.Helper()
	for i := range tickets {
		require.True(t, e.glance(t, addr), "ticket %d of %d", i+1, tickets)
	}
	require.False(t, e.glance(t, addr), "there is none left")
}

func TestEveryTicketOfAServerIsUsableOnce(t *testing.T) {
	for _, n := range []int{1, 2, 4, 16} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			server := newOpenSSL(t, "-num_tickets", strconv.Itoa(n))
			for _, w := range ways {
				t.Run(w.name, func(t *testing.T) { everyTicketOnce(t, server, w, n) })
			}
		})
	}
}

func everyTicketOnce(t *testing.T, server *openSSL, w way, n int) {
	proxy := server.proxy(t, 1)
	c, heard := listen(t, new(resume.ClientCache))
	e := w.open(c, server.client)

	conn := e.connect(t, proxy.Addr)
	require.NoError(t, talk(conn))
	got := heard.got()
	require.Len(t, got, n)
	require.True(t, e.Get0Session(e.key(proxy.Addr)).Same(got[n-1]), "by server: the last")
	if known, ok := conn.(*resume.Conn); ok {
		require.True(t, known.Get0Session().Same(got[n-1]), "by connection: the last")
	}
	require.NoError(t, conn.Close())

	e.drain(t, proxy.Addr, n)

	counts := requireNoReuse(t, proxy.Identities)
	assert.Equal(t, n+2, counts.Connections)
	assert.Equal(t, n, counts.Offered)
	for i, s := range got {
		assert.Equal(t, resume.Used, s.Status(), "ticket %d", i+1)
	}
	assert.EqualValues(t, n, c.Stats().Captured)
	assert.EqualValues(t, n, c.Stats().Used)
}

// A resumed connection brings one ticket, however many a full one brings.
func TestParallelConnectionsUseEveryTicketOnce(t *testing.T) {
	for _, n := range []int{1, 2, 4, 16} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			server := newOpenSSL(t, "-num_tickets", strconv.Itoa(n))
			for parallel := 1; parallel <= 4; parallel++ {
				t.Run(fmt.Sprint("parallel ", parallel), func(t *testing.T) {
					proxy := server.proxy(t, parallel)
					c := newCache(t, new(resume.ClientCache))
					e := dialed(c.NewScope(), server.client)
					const turns = 4
					resumed := 0
					for range turns {
						resumed += e.crowd(t, proxy.Addr, parallel)
					}

					counts, st := requireNoReuse(t, proxy.Identities), c.Stats()
					full := turns*parallel - resumed
					assert.Equal(t, resumed, counts.Offered)
					assert.LessOrEqual(t, full, parallel, "only where no ticket could be there yet")
					assert.EqualValues(t, n*full+resumed, st.Captured)
					assert.EqualValues(t, n*full, st.Kept)
				})
			}
		})
	}
}

func TestWithoutATicketAConnectionStaysPending(t *testing.T) {
	server := newOpenSSL(t, "-num_tickets", "0")
	for parallel := 1; parallel <= 4; parallel++ {
		proxy := server.proxy(t, parallel)
		c := newCache(t, new(resume.ClientCache))
		e := dialed(c.NewScope(), server.client)

		conn := e.connect(t, proxy.Addr).(*resume.Conn)
		for range 3 {
			require.NoError(t, talk(conn))
			require.Equal(t, resume.Pending, conn.Get0Session().Status())
		}
		object := conn.Get1Session()
		require.NoError(t, conn.Close())
		require.Equal(t, resume.Failed, object.Status(), "none can come any more")
		object.Release()
		require.Zero(t, e.crowd(t, proxy.Addr, parallel))

		require.Zero(t, proxy.Identities.Counts().Offered)
		require.Zero(t, c.Stats().Captured, "a Pending object is no session")
	}
}

// With -no_ticket the server keeps its sessions itself, and what it sends are
// 32 bytes that name them.
func TestTicketsThatNameAServersSessionAreUsableOnce(t *testing.T) {
	server := newOpenSSL(t, "-no_ticket")
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { everyTicketOnce(t, server, w, 2) })
	}
}

// TLS 1.2 of OpenSSL brings a ticket with a full handshake and none with a
// resumed one, so that it must be used again.
func TestOpenSSLsTLS12SessionIsUsedAgain(t *testing.T) {
	server := newOpenSSL(t, "-tls1_2")
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			proxy := server.proxy(t, 4)
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, server.client)
			e.full(t, proxy.Addr)
			for range 3 {
				require.Equal(t, 4, e.crowd(t, proxy.Addr, 4))
			}
			assert.Equal(t, 12, proxy.Identities.Counts().Offered)
			assert.EqualValues(t, 1, c.Stats().Captured)
			assert.EqualValues(t, 1, c.Stats().Kept)
		})
	}
}
