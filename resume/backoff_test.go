package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// breaking makes a server end every connection that offers a ticket, as long
// as told to (rule T18).
func breaking(broken *atomic.Bool) func(server, client *tls.Config) {
	return func(server, _ *tls.Config) {
		keys := server.Clone()
		server.WrapSession = keys.EncryptTicket
		server.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			if broken.Load() {
				return nil, errors.New("broken")
			}
			return keys.DecryptTicket(identity, cs)
		}
	}
}

// dial makes a connection that is read from, in a bubble.
func (p *peer) dial(t testing.TB, scope *Scope) (resumed bool, err error) {
	conn := scope.NewConn(p.serve(), p.client)
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		return false, err
	}
	exchange(t, conn)
	return conn.ConnectionState().DidResume, nil
}

// stock brings n sessions into a scope.
func (p *peer) stock(t testing.TB, scope *Scope, n int) {
	t.Helper()
	var conns []*Conn
	for range n {
		conn := scope.NewConn(p.serve(), p.client)
		require.NoError(t, conn.Handshake())
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		exchange(t, conn)
		conn.Close()
	}
}

func TestServerThatKeepsFailingIsNotOfferedSessionsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		p := newPeer(t, breaking(&broken))
		var backedOff int
		c := &ClientCache{Observe: func(e Event) {
			if e.Kind == BackedOff {
				backedOff++
			}
		}}
		scope := c.NewScope()
		p.stock(t, scope, 8)
		broken.Store(true)
		fail := func() {
			_, err := p.dial(t, scope)
			require.Error(t, err)
		}
		full := func() {
			resumed, err := p.dial(t, scope)
			require.NoError(t, err)
			require.False(t, resumed)
		}
		for range backOffAfter {
			require.Zero(t, backedOff)
			fail()
		}
		require.Equal(t, 1, backedOff)
		full()
		require.EqualValues(t, 1, c.Stats().BackedOff)
		for pause := backOffFirst; pause < 4*backOffFirst; pause *= 2 {
			time.Sleep(pause - time.Second)
			full()
			time.Sleep(2 * time.Second)
			fail() // one attempt, and the next pause is twice as long
			full()
		}
		broken.Store(false)
		time.Sleep(4 * backOffFirst)
		resumed, err := p.dial(t, scope)
		require.NoError(t, err)
		require.True(t, resumed)
		broken.Store(true)
		fail() // counted anew
		fail()
		require.Equal(t, 3, backedOff)
		require.Zero(t, p.seen.Counts().Reused)
		checkStats(t, c)
	})
}

// Timeouts, cancelled contexts, connections that die and refused tickets say
// nothing against a server.
func TestOnlyAServerThatAnsweredIsBackedOffFrom(t *testing.T) {
	mute := func() net.Conn {
		client, server := tlstest.Pipe()
		time.AfterFunc(time.Minute, func() { server.Close() })
		return client
	}
	for _, row := range []struct {
		why  string
		fail func(p *peer, scope *Scope) error
	}{
		{"nobody answers in time", func(p *peer, scope *Scope) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return scope.NewConn(mute(), p.client).HandshakeContext(ctx)
		}},
		{"the caller gives up", func(p *peer, scope *Scope) error {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			return scope.NewConn(mute(), p.client).HandshakeContext(ctx)
		}},
		{"the connection dies", func(p *peer, scope *Scope) error {
			client, server := tlstest.Pipe()
			time.AfterFunc(time.Second, func() { server.Close() })
			return scope.NewConn(client, p.client).Handshake()
		}},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := newPeer(t), new(ClientCache)
				scope := c.NewScope()
				p.stock(t, scope, 3*backOffAfter+1)
				for range 3 * backOffAfter {
					require.Error(t, row.fail(p, scope))
				}
				require.EqualValues(t, 3*backOffAfter, checkStats(t, c).Used, "they were sent")
				resumed, err := p.dial(t, scope)
				require.NoError(t, err)
				require.True(t, resumed)
				require.Zero(t, c.Stats().BackedOff)
				time.Sleep(time.Hour) // let the pipes end
			})
		})
	}
}

func TestBackOffIsBounded(t *testing.T) {
	s, now := new(server), time.Now()
	for range 100 {
		for !s.failed(now) {
			require.False(t, s.silent(now))
		}
		pause := s.silentUntil.Sub(now)
		require.True(t, pause >= backOffFirst && pause <= backOffMost, pause)
		require.False(t, s.failed(now), "what is under way during a pause is not counted")
		now = s.silentUntil
	}
	require.Equal(t, backOffMost, s.silentUntil.Sub(now.Add(-backOffMost)))
}

// RFC 5077, Section 3.2 (rule N17): a TLS 1.2 session that the server took and
// whose handshake then failed is not offered again.
func TestTLS12SessionThatBreaksAHandshakeIsDropped(t *testing.T) {
	var broken atomic.Bool
	p, c := newPeer(t, tls12, breaking(&broken)), new(ClientCache)
	scope := c.NewScope()
	session := p.bound(t, scope, true).Get1Session()
	defer session.Release()
	broken.Store(true)
	require.Error(t, scope.NewConn(p.serve(), p.client).Handshake())
	require.Equal(t, Failed, session.Status())
	require.Equal(t, "handshake", session.Reason())
	require.Nil(t, scope.Get0Session(serverName))
}

// Our own Close breaks a handshake off, and says nothing against the server,
// whatever the raw connection calls it.
func TestHandshakeThatWeCloseIsNotHeldAgainstTheServer(t *testing.T) {
	p, c := newPeer(t, tls12), new(ClientCache)
	scope := c.NewScope()
	session := p.bound(t, scope, true).Get1Session()
	defer session.Release()
	for _, end := range []func(*Conn, net.Conn){
		func(conn *Conn, _ net.Conn) { conn.Close() },
		func(_ *Conn, raw net.Conn) { raw.Close() },
	} {
		raw, silent := net.Pipe() // io.ErrClosedPipe, unlike tlstest's
		conn := scope.NewConn(raw, p.client)
		done := make(chan error)
		go func() { done <- conn.Handshake() }()
		silent.Read(make([]byte, 16<<10)) // the session is offered
		end(conn, raw)
		require.Error(t, <-done)
		require.Equal(t, Resumable, session.Status(), session.Reason())
		silent.Close()
	}
}

func TestDeadRawConnectionCostsNoTicketAndNoTrust(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.NewScope()
	p.bound(t, scope, true)
	for range 3 * backOffAfter {
		require.Error(t, scope.NewConn(deadConn{p.serve()}, p.client).Handshake())
	}
	require.True(t, p.bound(t, scope, true).ConnectionState().DidResume)
}

// Every resumed handshake is judged, and nearly all of them succeed.
func TestJudgingASuccessAllocatesNothing(t *testing.T) {
	fault := false
	require.Zero(t, testing.AllocsPerRun(100, func() { fault = fault || serversFault(nil) }))
	require.False(t, fault)
}
