package resume

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// An inn is a listener in memory: what is dialled is accepted.
type inn struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newInn() *inn { return &inn{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (n *inn) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *inn) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *inn) Addr() net.Addr { return &net.UnixAddr{Name: "inn"} }

func (n *inn) dial() net.Conn {
	client, server := tlstest.Pipe()
	n.conns <- server
	return client
}

// A house is a server with a ServerCache, and the client configuration that
// trusts it. Each connection gets an 'x' for everything it sends.
type house struct {
	t      testing.TB
	cache  *ServerCache
	base   *tls.Config
	client *tls.Config
	raw    func() net.Conn // connects to the server

	mu   sync.Mutex // guards last
	last net.Conn   // the last that a listener accepted
}

// A serverWay is a way to use a ServerCache.
type serverWay struct {
	name   string
	listen func(*house, *inn) net.Listener
}

var serverWays = []serverWay{
	{"TLSConfig", func(h *house, n *inn) net.Listener { return tls.NewListener(n, h.cache.TLSConfig(h.base)) }},
	{"NewListener", func(h *house, n *inn) net.Listener { return h.cache.NewListener(n, h.base) }},
}

var byListener = serverWays[1]

func newHouse(t testing.TB, cache *ServerCache, way serverWay, change ...func(server, client *tls.Config)) *house {
	t.Helper()
	p := newPeer(t)
	h := &house{t: t, cache: cache, client: p.client}
	h.base = &tls.Config{Certificates: certificatesOf(t, p)}
	for _, f := range change {
		f(h.base, h.client)
	}
	h.open(way)
	return h
}

// certificatesOf are a peer's, whose own configuration counts tickets.
func certificatesOf(t testing.TB, p *peer) []tls.Certificate {
	config, err := p.server.GetConfigForClient(&tls.ClientHelloInfo{})
	require.NoError(t, err)
	return config.Certificates
}

// sibling is another server with the same certificate, and another cache.
func (h *house) sibling(cache *ServerCache, way serverWay, change ...func(server, client *tls.Config)) *house {
	other := &house{t: h.t, cache: cache, base: h.base.Clone(), client: h.client}
	for _, f := range change {
		f(other.base, other.client)
	}
	other.open(way)
	return other
}

func (h *house) open(way serverWay) {
	n := newInn()
	listener := way.listen(h, n)
	h.raw = n.dial
	h.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.last = conn
			h.mu.Unlock()
			go answer(conn)
		}
	}()
}

// answer writes an 'x' for everything it reads.
func answer(conn net.Conn) {
	defer conn.Close()
	for buf := make([]byte, 64); ; {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			return
		}
	}
}

// accepted is the connection that was accepted last.
func (h *house) accepted() net.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// An offer is a client's cache that offers what it holds, however often, and
// holds what it was last given.
type offer struct{ got, held *tls.ClientSessionState }

func (o *offer) Get(string) (*tls.ClientSessionState, bool) { return o.held, o.held != nil }
func (o *offer) Put(_ string, cs *tls.ClientSessionState) {
	if cs != nil {
		o.got = cs
	}
}

// call makes a connection that offers a session, or none, and returns whether
// it resumed and what it was sent. It stays open until the test ends.
func (h *house) call(held *tls.ClientSessionState, change ...func(*tls.Config)) (resumed bool, got *tls.ClientSessionState) {
	h.t.Helper()
	o := &offer{held: held}
	conn := h.dial(o, change...)
	exchange(h.t, conn)
	return conn.ConnectionState().DidResume, o.got
}

func (h *house) dial(o *offer, change ...func(*tls.Config)) *tls.Conn {
	h.t.Helper()
	config := h.client.Clone()
	config.ClientSessionCache = o
	for _, f := range change {
		f(config)
	}
	conn := tls.Client(h.raw(), config)
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// ticketOf is what a session presents.
func ticketOf(t testing.TB, cs *tls.ClientSessionState) []byte {
	ticket, _, err := cs.ResumptionState()
	require.NoError(t, err)
	return ticket
}

// retold is the session of a client under another ticket.
func retold(t testing.TB, cs *tls.ClientSessionState, ticket []byte) *tls.ClientSessionState {
	_, state, err := cs.ResumptionState()
	require.NoError(t, err)
	state = tlstest.Must(tls.ParseSessionState(tlstest.Must(state.Bytes())))
	return tlstest.Must(tls.NewResumptionState(ticket, state))
}

// checkServerStats holds that every session is counted in one place.
func checkServerStats(t testing.TB, c *ServerCache) Stats {
	t.Helper()
	st := c.Stats()
	sum := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed + st.Kept
	require.Equal(t, st.Captured+st.Fetched, sum+st.Stored, st.String())
	return st
}

// diary notes what a cache tells.
type diary struct {
	mu     sync.Mutex // guards events
	events []Event
}

func (d *diary) note(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// reasons are those of the events of a kind.
func (d *diary) reasons(kind EventKind) (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Kind == kind {
			all = append(all, e.Reason)
		}
	}
	return all
}

var _ io.Closer = (*ServerCache)(nil)
