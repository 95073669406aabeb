package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

// A client is what a *tls.Conn and a *resume.Conn have in common.
type client interface {
	net.Conn
	HandshakeContext(context.Context) error
	ConnectionState() tls.ConnectionState
	NetConn() net.Conn
}

// A way is one of the ways in to the layer.
type way struct {
	name string
	open func(c *resume.ClientCache, base *tls.Config) entry
}

// An entry is a way in, opened for one configuration.
type entry struct {
	sessions               // the accessors by server
	dial     dialer        // connects and makes the handshake
	wrap     wrapper       // the same over any connection; nil for a Dialer
	port     bool          // sessions are found under name:port
	config   *tls.Config   // what was passed in
	scope    *resume.Scope // nil for a ClientCache plugged in directly
}

type (
	dialer   func(ctx context.Context, addr string) (client, error)
	wrapper  func(raw net.Conn) client
	sessions interface {
		Get0Session(string) *resume.Session
		Get1Session(string) *resume.Session
	}
)

// ways are all of them: three, plugged with a Scope, too, and Dialer with its
// other half. In the first three the connection is not known.
var ways = []way{
	{"ClientCache", func(c *resume.ClientCache, base *tls.Config) entry {
		return plugged(base, c, c)
	}},
	{"Scope", func(c *resume.ClientCache, base *tls.Config) entry {
		scope := c.Scope("tenant")
		e := plugged(base, scope, scope)
		e.scope = scope
		return e
	}},
	{"TLSConfig", func(c *resume.ClientCache, base *tls.Config) entry {
		config := c.TLSConfig(base)
		scope := config.ClientSessionCache.(*resume.Scope)
		e := plugged(config, scope, scope)
		e.scope = scope
		return e
	}},
	{"NewConn", func(c *resume.ClientCache, base *tls.Config) entry { return bound(c.Scope("tenant"), base) }},
	{"Dialer", func(c *resume.ClientCache, base *tls.Config) entry { return dialed(c.Scope("tenant"), base) }},
}

// plugged is a configuration that carries a cache.
func plugged(base *tls.Config, cache tls.ClientSessionCache, found sessions) entry {
	config := base.Clone()
	config.ClientSessionCache = cache
	wrap := func(raw net.Conn) client { return tls.Client(raw, config) }
	return entry{sessions: found, wrap: wrap, dial: over(wrap), config: base}
}

// bound is Scope.NewConn.
func bound(scope *resume.Scope, base *tls.Config) entry {
	wrap := func(raw net.Conn) client { return scope.NewConn(raw, base) }
	return entry{sessions: scope, wrap: wrap, dial: over(wrap), config: base, scope: scope}
}

// dialed is resume.Dialer.
func dialed(scope *resume.Scope, base *tls.Config) entry {
	d := &resume.Dialer{Scope: scope, Config: base}
	return entry{
		sessions: scope, port: true, config: base, scope: scope,
		dial: func(ctx context.Context, addr string) (client, error) {
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err // a nil *Conn is no nil client
			}
			return conn, nil
		},
	}
}

// over makes a dialer of a wrapper.
func over(wrap wrapper) dialer {
	return func(ctx context.Context, addr string) (client, error) {
		raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		conn := wrap(raw)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
}

// key is what the sessions of a server are found under.
func (e entry) key(addr string) string {
	if !e.port {
		return e.config.ServerName
	}
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(e.config.ServerName, port)
}

// connect dials and fails the test if that fails. The connection is closed
// when the test ends, if not before.
func (e entry) connect(t testing.TB, addr string) client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := e.dial(ctx, addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// visit makes one connection that reads, and says whether it was resumed.
func (e entry) visit(addr string) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := e.dial(ctx, addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := talk(conn); err != nil {
		return false, err
	}
	return conn.ConnectionState().DidResume, nil
}

// full and resumed are visits that must turn out so.
func (e entry) full(t testing.TB, addr string) {
	t.Helper()
	resumed, err := e.visit(addr)
	require.NoError(t, err)
	require.False(t, resumed, "a full handshake was due")
}

func (e entry) resumed(t testing.TB, addr string) {
	t.Helper()
	resumed, err := e.visit(addr)
	require.NoError(t, err)
	require.True(t, resumed, "a resumption was due")
}

// crowd makes n visits at once and returns how many were resumed.
func (e entry) crowd(t testing.TB, addr string, n int) (resumed int) {
	t.Helper()
	var all errgroup.Group
	results := make([]bool, n)
	for i := range n {
		all.Go(func() (err error) {
			results[i], err = e.visit(addr)
			return err
		})
	}
	require.NoError(t, all.Wait())
	for _, r := range results {
		if r {
			resumed++
		}
	}
	return resumed
}

// talk sends a line and reads it back, from an echo or, reversed, from openssl
// s_server -rev. The tickets come in before it.
func talk(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "level\n"); err != nil {
		return err
	}
	line := make([]byte, 6)
	if _, err := io.ReadFull(conn, line); err != nil {
		return err
	}
	if !bytes.Equal(line, []byte("level\n")) {
		return fmt.Errorf("got %q back", line)
	}
	return nil
}
