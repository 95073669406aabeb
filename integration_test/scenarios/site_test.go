package scenarios_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	tlspeer "github.com/tlsresume/tlsresume/internal/tlstest/peer"
	"github.com/tlsresume/tlsresume/resume"
)

const (
	host     = "server.test"
	patience = 20 * time.Second // bounds everything a test waits for
	day      = 24 * time.Hour
)

// A peer is a server that can be dialled, what it saw of tickets, and the
// client configuration that trusts it.
type peer struct {
	addr   string
	seen   *tlstest.Identities
	client *tls.Config
	ca     *tlstest.CA
}

// newOpenSSL is openssl s_server behind a proxy that counts. It serves one
// connection after the other. TLS 1.3 gets two tickets with a full handshake
// and one with a resumption, TLS 1.2 one and none.
func newOpenSSL(t testing.TB, args ...string) *peer {
	t.Helper()
	p := newPeer(host)
	server, err := tlspeer.OpenSSL(args...).Start(p.issue(host))
	if errors.Is(err, tlspeer.ErrMissing) {
		if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
			t.Fatalf("peers are required: %v", err)
		}
		t.Skipf("without this peer: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	p.throughProxy(t, server.Addr, 1)
	return p
}

// A goPeer is a Go server: one ticket with every handshake, TLS 1.2 too.
type goPeer struct {
	*peer
	server *tls.Config
	run    *tlstest.Server
}

func newGo(t testing.TB, change ...func(*tls.Config)) *goPeer {
	t.Helper()
	p := &goPeer{peer: newPeer(host)}
	p.server = &tls.Config{Certificates: []tls.Certificate{p.issue(host)}}
	p.start(t, "127.0.0.1:0", change...)
	p.addr, p.seen = p.run.Addr, p.run.Identities
	return p
}

// restart ends the server and starts a changed one at the same address.
func (p *goPeer) restart(t testing.TB, change ...func(*tls.Config)) {
	t.Helper()
	p.run.Close()
	p.server = p.server.Clone()
	p.start(t, p.run.Addr, change...)
}

func (p *goPeer) start(t testing.TB, addr string, change ...func(*tls.Config)) {
	t.Helper()
	for _, f := range change {
		f(p.server)
	}
	run, err := tlstest.NewServer(tlstest.Options{Config: p.server, Addr: addr})
	require.NoError(t, err)
	t.Cleanup(run.Close)
	p.run = run
}

func newPeer(name string) *peer {
	ca := tlstest.Must(tlstest.NewCA("root"))
	return &peer{ca: ca, client: &tls.Config{
		RootCAs: ca.Pool(), ServerName: name,
		// Assembly: the race detector makes the other curves slow.
		CurvePreferences: []tls.CurveID{tls.CurveP256},
	}}
}

// throughProxy makes the peer reached through one, which counts what goes by
// on the wire, even what the server takes no notice of.
func (p *peer) throughProxy(t testing.TB, target string, parallel int) {
	t.Helper()
	proxy, err := tlstest.NewProxy(target, parallel)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	p.addr, p.seen = proxy.Addr, proxy.Identities
}

func (p *peer) issue(names ...string) tls.Certificate {
	return tlstest.Must(p.ca.Issue(tlstest.Leaf{Names: names}))
}

// with is the client configuration, changed.
func (p *peer) with(change func(*tls.Config)) *tls.Config {
	config := p.client.Clone()
	change(config)
	return config
}

// requireOffered holds how many connections offered a ticket, and that none
// offered one that another had offered.
func (p *peer) requireOffered(t testing.TB, offered int) {
	t.Helper()
	requireOffered(t, p.seen, offered)
}

func requireOffered(t testing.TB, seen *tlstest.Identities, offered int) {
	t.Helper()
	counts := seen.Counts()
	require.Zero(t, counts.Reused, "connections that offered a ticket another had offered")
	require.Equal(t, offered, counts.Offered, "connections that offered a ticket")
}

// connect dials, and reads what brings the tickets.
func (p *peer) connect(t testing.TB, d *resume.Dialer) *resume.Conn {
	t.Helper()
	conn, err := d.DialContext(t.Context(), "tcp", p.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	talk(t, conn)
	return conn
}

// visit is a connection that is closed again.
func (p *peer) visit(t testing.TB, d *resume.Dialer) (resumed bool) {
	t.Helper()
	conn := p.connect(t, d)
	require.NoError(t, conn.Close())
	return conn.ConnectionState().DidResume
}

// refuses holds that a session cannot be dialled with, and why, and that no
// connection is made to find out.
func (p *peer) refuses(t testing.TB, d *resume.Dialer, session *resume.Session, why resume.Status) {
	t.Helper()
	dialer := exactly(d, session)
	dialer.NetDialer = &net.Dialer{Control: func(string, string, syscall.RawConn) error {
		return errors.New("a connection was made")
	}}
	_, err := dialer.DialContext(t.Context(), "tcp", p.addr)
	require.ErrorIs(t, err, resume.ErrNotResumable)
	require.ErrorContains(t, err, why.String())
}

// exactly is a Dialer with one session (SSL_set_session).
func exactly(d *resume.Dialer, session *resume.Session) *resume.Dialer {
	return &resume.Dialer{Scope: d.Scope, Config: d.Config, Session: session}
}

// talk sends a line and reads it back, from an echo or, reversed, from openssl
// s_server -rev.
func talk(t testing.TB, conn net.Conn) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	_, err := io.WriteString(conn, "level\n")
	require.NoError(t, err)
	line := make([]byte, 6)
	_, err = io.ReadFull(conn, line)
	require.NoError(t, err)
	require.Equal(t, "level\n", string(line))
}

// A record is what the callbacks of a cache were told.
type record struct {
	mu     sync.Mutex        // guards the rest
	all    []*resume.Session // of NewSession, held
	new    int               // calls of NewSession
	remove int               // and of RemoveSession, both since the last look
	ends   []string          // what RemoveSession was told of Status and Reason
}

// listen adds callbacks, and has the cache's books checked when the test ends.
func listen(t testing.TB, c *resume.ClientCache) (*resume.ClientCache, *record) {
	r := new(record)
	checkBooks(t, c)
	t.Cleanup(func() { // before that
		for _, s := range r.sessions() {
			s.Release()
		}
	})
	c.NewSession = func(s *resume.Session) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.new++
		r.all = append(r.all, s.Retain())
	}
	c.RemoveSession = func(s *resume.Session) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.remove++
		end := s.Status().String()
		if reason := s.Reason(); reason != "" {
			end += ": " + reason
		}
		r.ends = append(r.ends, end)
	}
	return c, r
}

// requireCalls holds how often the callbacks were called since it last asked.
func (r *record) requireCalls(t testing.TB, new, remove int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, []int{new, remove}, []int{r.new, r.remove}, "calls of NewSession and RemoveSession")
	r.new, r.remove = 0, 0
}

func (r *record) sessions() []*resume.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*resume.Session(nil), r.all...)
}

func (r *record) ended() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.ends...)
}

func checkBooks(t testing.TB, c *resume.ClientCache) *resume.ClientCache {
	t.Cleanup(func() {
		st := c.Stats()
		sum := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed + st.Kept
		assert.Equal(t, st.Captured, sum, st.String())
		assert.Zero(t, st.Handles, "counted handles that nobody released")
	})
	return c
}
