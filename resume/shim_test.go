package resume

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// isLent reports whether the shim of a closed connection is there for others.
func isLent(c *Conn) bool { return c.shim.conn.Load() != c }

// A pool that is emptied now and then, and under the race detector forgets some
// of what it is given, is asked more than once.
func TestOneConfigurationServesConnectionsInTurn(t *testing.T) {
	p := newPeer(t)
	scope, again := new(ClientCache).NewScope(), 0
	var before *Conn
	for turn := range 20 {
		conn := p.bound(t, scope, true)
		require.Equal(t, turn > 0, conn.ConnectionState().DidResume)
		own := conn.Get0Session()
		require.Equal(t, Resumable, own.Status())
		if before != nil {
			require.False(t, own.Same(before.Get0Session()), "each has its own")
			if before.shim == conn.shim {
				again++
			}
		}
		conn.Close()
		require.True(t, isLent(conn))
		before = conn
	}
	require.Positive(t, again)
	require.EqualValues(t, 20, scope.domain.core.stats().Captured)
}

func read(t *testing.T, p *peer, s *Scope) *Conn { return p.bound(t, s, true) }

// As long as crypto/tls could still ask it for something, a shim stays with its
// connection.
func TestAShimIsNotLentBeforeItsConnectionIsDone(t *testing.T) {
	for why, row := range map[string]struct {
		change []func(server, client *tls.Config)
		until  func(*testing.T, *peer, *Scope) *Conn
		lent   bool
	}{
		"done": {until: read, lent: true},
		"TLS 1.2, which may shake hands again": {
			change: []func(server, client *tls.Config){tls12}, until: read,
		},
		"no handshake": {until: func(t *testing.T, p *peer, s *Scope) *Conn { return s.NewConn(p.serve(), p.client) }},
		"a failed handshake": {until: func(t *testing.T, p *peer, s *Scope) *Conn {
			conn := s.NewConn(p.serve(), &tls.Config{ServerName: "another.test"})
			require.Error(t, conn.Handshake())
			return conn
		}},
		"a handshake under way": {until: func(t *testing.T, p *peer, s *Scope) (conn *Conn) {
			conn = s.NewConn(writing{p.serve(), func() {
				if conn.facts.version != 0 { // its last flight
					conn.end()
				}
			}}, p.client)
			require.NoError(t, conn.Handshake())
			return conn
		}},
		"a read under way": {until: func(t *testing.T, p *peer, s *Scope) *Conn {
			// Close wakes it, and it is not to be over before Close is.
			raw := lingering{p.serve(), make(chan struct{})}
			t.Cleanup(func() { close(raw.over) })
			conn := s.NewConn(raw, p.client)
			exchange(t, conn)
			go conn.Read(make([]byte, 1))
			synctest.Wait()
			return conn
		}},
		"a read of our own under way": {until: func(t *testing.T, p *peer, s *Scope) *Conn {
			conn := p.bound(t, s, false)
			require.True(t, conn.beginOwn(forSession))
			return conn
		}},
		"somebody has the tls.Conn": {until: func(t *testing.T, p *peer, s *Scope) *Conn {
			conn := p.bound(t, s, true)
			conn.unbound = true
			return conn
		}},
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := row.until(t, newPeer(t, row.change...), new(ClientCache).NewScope())
				conn.Close()
				require.Equal(t, row.lent, isLent(conn))
				synctest.Wait()
				conn.Close()
				require.Equal(t, row.lent, isLent(conn), "nor later, nor twice")
				_, err := conn.Read(make([]byte, 1))
				if conn.complete {
					require.ErrorIs(t, err, net.ErrClosed)
				}
				require.Error(t, err)
			})
		})
	}
}

// writing calls a function before each write.
type writing struct {
	net.Conn
	before func()
}

func (w writing) Write(b []byte) (int, error) {
	w.before()
	return w.Conn.Write(b)
}

// lingering is a raw connection whose reads return its end late.
type lingering struct {
	net.Conn
	over chan struct{}
}

func (l lingering) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err != nil {
		<-l.over
	}
	return n, err
}

// undead is a raw connection that its Close does not end.
type undead struct{ net.Conn }

func (undead) Close() error { return nil }

func TestNothingIsReadBehindTheEnd(t *testing.T) {
	p, cache := newPeer(t), new(ClientCache)
	raw := p.serve()
	defer raw.Close()
	conn := cache.NewScope().NewConn(undead{raw}, p.client)
	exchange(t, conn)
	_, err := conn.Write([]byte("?")) // which will be answered
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	n, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	require.Zero(t, n)
	require.ErrorIs(t, conn.Shutdown(context.Background()), net.ErrClosed)

	captured := cache.Stats().Captured
	conn.shim.Put(serverName, p.states(t, 1)[0])
	require.Equal(t, captured, cache.Stats().Captured, "nobody is there for a ticket")
}

func TestAShimIsLentWithoutItsInstant(t *testing.T) {
	conn := newPeer(t).bound(t, new(ClientCache).NewScope(), true)
	conn.shim.now()
	conn.Close()
	require.True(t, isLent(conn))
	require.Zero(t, conn.shim.at)
}

// A configuration without a name, as a Dialer has it, gets that of the server.
func TestAShimIsForOneServerName(t *testing.T) {
	view := new(ClientCache).NewScope().domain.view(new(tls.Config))
	for _, name := range []string{"one.test", "another.test", "another.test", "one.test"} {
		h := view.shim(name)
		require.Equal(t, name, h.config.ServerName)
		h.lend(view)
	}
	named := new(ClientCache).NewScope().domain.view(&tls.Config{ServerName: "named.test"})
	require.Equal(t, "named.test", named.shim("one.test").config.ServerName)
}
