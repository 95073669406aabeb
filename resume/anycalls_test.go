package resume

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever is called on a connection, from several goroutines at once, while
// the server does what it likes: nothing hangs, no ticket is offered twice, no
// reference is lost and none given back twice, and the books add up.
func TestAnyCallsAtOnceKeepTheBooks(t *testing.T) {
	for _, row := range []struct {
		why    string
		change func(server, client *tls.Config)
	}{
		{"tickets in the first flight", func(*tls.Config, *tls.Config) {}},
		{"tickets behind the handshake", func(server, _ *tls.Config) { server.ClientAuth = tls.RequestClientCert }},
		{"TLS 1.2", func(server, _ *tls.Config) { server.MaxVersion = tls.VersionTLS12 }},
	} {
		t.Run(row.why, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			p := newPeer(t, row.change)
			a := &anyCalls{peer: p, addr: moodyServer(t, p, seed)}
			c := &ClientCache{TicketsPerServer: 3, NewSession: a.seen}
			a.scope = c.NewScope()
			var all sync.WaitGroup
			for g := range uint64(4) {
				all.Go(func() {
					random := rand.New(rand.NewPCG(seed, g))
					for range 25 {
						a.connection(random)
						a.elsewhere(c, random)
					}
				})
			}
			all.Wait()
			a.release()
			st := checkStats(t, c)
			require.NotZero(t, st.Resumed)
			require.Zero(t, st.Handles)
			require.EqualValues(t, st.Kept, st.Pooled)
			references := make(map[*session]int32) // the pool's; of all others none
			c.core().pool.RemoveIf(func(_ serverKey, s *session) bool {
				references[s] = 1
				return false
			})
			for _, s := range a.sessions {
				require.Equal(t, references[s], s.refs.Load(), s.borrow())
			}
			if p.server.MaxVersion != tls.VersionTLS12 {
				require.Zero(t, p.seen.Counts().Reused)
			}
		})
	}
}

// anyPatience bounds what waits for the other side in vain. Whether it does is
// all the same to the test.
const anyPatience = 100 * time.Millisecond

// moodyServer serves a peer's configuration on loopback, and ends connections
// at any moment in any way.
func moodyServer(t *testing.T, p *peer, seed uint64) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	serving.Go(func() {
		for n := uint64(0); ; n++ {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { moody(raw, p.server, rand.New(rand.NewPCG(seed, 1000+n))) })
		}
	})
	return listener.Addr().String()
}

func moody(raw net.Conn, config *tls.Config, random *rand.Rand) {
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(2 * anyPatience))
	conn := tls.Server(raw, config)
	if random.IntN(20) == 0 || conn.Handshake() != nil {
		return
	}
	buf := make([]byte, 4096)
	for {
		switch random.IntN(12) {
		case 0:
			return
		case 1:
			conn.Close()
			return
		case 2:
			conn.CloseWrite()
		case 3:
			raw.Write([]byte{21, 3, 3, 0, 2, 2, 80}) // no record that the client can open
		case 4, 5, 6:
			conn.Write(buf[:1+random.IntN(len(buf)-1)])
		default:
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}
}

// anyCalls is what the goroutines of the test share.
type anyCalls struct {
	scope *Scope
	peer  *peer
	addr  string

	mu       sync.Mutex // guards the rest
	held     []*Session
	sessions []*session // all there were
}

func (a *anyCalls) seen(s *Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = append(a.sessions, s.s)
}

func (a *anyCalls) hold(s *Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = append(a.held, s) // nil as well: to release it does nothing
}

func (a *anyCalls) release() {
	for _, s := range a.held {
		s.Release()
	}
}

// connection makes one and lets several goroutines call what they like.
func (a *anyCalls) connection(random *rand.Rand) {
	conn := a.dial(random)
	if conn == nil {
		return
	}
	defer conn.Close()
	var all sync.WaitGroup
	for range 1 + random.IntN(4) {
		own := rand.New(rand.NewPCG(random.Uint64(), 1))
		all.Go(func() {
			for range 1 + own.IntN(6) {
				a.call(conn, own)
			}
		})
	}
	all.Wait()
}

func (a *anyCalls) dial(random *rand.Rand) *Conn {
	if random.IntN(2) == 0 {
		d := &Dialer{Scope: a.scope, Config: a.peer.client, NetDialer: &net.Dialer{Timeout: 10 * time.Second}}
		if random.IntN(4) == 0 {
			d.Session = a.scope.Get1Session(serverName)
			a.hold(d.Session)
		}
		conn, _ := d.Dial("tcp", a.addr)
		return conn
	}
	raw, err := net.Dial("tcp", a.addr)
	if err != nil {
		return nil
	}
	raw.SetDeadline(time.Now().Add(anyPatience))
	if random.IntN(3) == 0 {
		raw = struct{ net.Conn }{raw} // into which Close cannot look
	}
	return a.scope.NewConn(raw, a.peer.client)
}

func (a *anyCalls) call(conn *Conn, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(8))*time.Millisecond)
	defer cancel()
	buf := make([]byte, random.IntN(2048))
	switch random.IntN(15) {
	case 0, 1, 2:
		conn.Read(buf)
	case 3, 4:
		conn.Write(buf)
	case 5:
		conn.WaitSession(ctx)
	case 6:
		conn.Shutdown(ctx)
	case 7:
		conn.Close()
	case 8:
		conn.CloseWrite()
	case 9:
		conn.SetReadDeadline(time.Now().Add(time.Duration(random.IntN(4)) * time.Millisecond))
	case 10:
		conn.SetDeadline(time.Now().Add(anyPatience))
	case 11:
		conn.Get0Session().Info()
	case 12:
		a.hold(conn.Get1Session())
	case 13:
		conn.HandshakeContext(ctx)
		conn.ConnectionState()
	case 14:
		conn.NetConn().Close()
	}
}

// elsewhere is what happens to the cache meanwhile.
func (a *anyCalls) elsewhere(c *ClientCache, random *rand.Rand) {
	switch random.IntN(10) {
	case 0:
		c.Clear(context.Background())
	case 1:
		a.scope.Clear(context.Background())
	case 2:
		c.Remove(a.scope.Get0Session(serverName))
	case 3:
		c.Sweep()
	case 4:
		c.Stats()
	}
}
