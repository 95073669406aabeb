package integration_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A memory is a Go server without a network. Inside a synctest bubble time
// passes only where a test sleeps, and whatever runs can be waited for.
type memory struct {
	client *tls.Config
	seen   *tlstest.Identities
	ages   *ages
	server *tls.Config
}

// A term is how far from now certificates begin and end to be valid. Zero is a
// year.
type term struct{ from, root, leaf time.Duration }

const day = 24 * time.Hour

func newMemory(with term, change ...func(*tls.Config)) *memory {
	const year = 365 * day
	now := time.Now()
	from := now.Add(-cmp.Or(with.from, year))
	ca := tlstest.Must(tlstest.NewCAValid("root", from, now.Add(cmp.Or(with.root, year))))
	leaf := tlstest.Leaf{Names: []string{host}, NotBefore: from, NotAfter: now.Add(cmp.Or(with.leaf, year))}
	server := &tls.Config{Certificates: []tls.Certificate{tlstest.Must(ca.Issue(leaf))}}
	newKeys(server) // that do not rotate, or no ticket would last 7 days
	for _, f := range change {
		f(server)
	}
	m := &memory{
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: host, CurvePreferences: []tls.CurveID{tls.CurveP256}},
		seen:   new(tlstest.Identities),
		ages:   watch(server),
	}
	m.server = tlstest.Counting(server, m.seen)
	return m
}

// open makes a connection, which is echoed.
func (m *memory) open() net.Conn {
	near, far := tlstest.Pipe()
	go func() {
		conn := tls.Server(far, m.server)
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	return near
}

// with is the client configuration, changed.
func (m *memory) with(change func(*tls.Config)) *tls.Config {
	config := m.client.Clone()
	change(config)
	return config
}

// reach makes a way in lead to this server, at whatever address.
func (m *memory) reach(e entry) entry {
	e.dial = func(ctx context.Context, _ string) (client, error) {
		raw := m.open()
		conn := e.wrap(raw)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
	return e
}

// overPipes are the ways in that need no network: NewConn stands for Dialer.
func overPipes() []way {
	return slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return w.name == "Dialer" })
}

// An ages is a server's record of when it gave each ticket out, and of how old
// the oldest was that came back.
type ages struct {
	mu     sync.Mutex // guards the rest
	issued map[string]time.Time
	oldest time.Duration
}

// watch makes a server keep it, beside what it wraps tickets with already.
func watch(c *tls.Config) *ages {
	a := &ages{issued: make(map[string]time.Time)}
	wrap := c.WrapSession
	if wrap == nil {
		wrap = c.EncryptTicket
	}
	c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		ticket, err := wrap(cs, state)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.issued[string(ticket)] = time.Now()
		return ticket, err
	}
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if issued, known := a.issued[string(identity)]; known && len(identity) > 0 {
			a.oldest = max(a.oldest, time.Since(issued))
		}
		return c.DecryptTicket(identity, cs)
	}
	return a
}

// requireYounger holds that no ticket came back after so long.
func (a *ages) requireYounger(t testing.TB, limit time.Duration) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Less(t, a.oldest, limit, "the age of a ticket that was offered")
}
