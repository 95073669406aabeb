package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// theirs is what a callback panics with.
const theirs = "a panic in a callback"

// A mine panics once in the callback of its name after it was laid, and before
// that skips as many calls as it was told to.
type mine struct {
	mu   sync.Mutex // guards the rest
	name string     // empty: none is laid
	skip int
}

func (m *mine) lay(name string, skip int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.name, m.skip = name, skip
}

// step is what a callback of that name does.
func (m *mine) step(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.name != name {
		return
	}
	if m.skip--; m.skip < 0 {
		m.name = ""
		panic(theirs)
	}
}

// mined adds a mine to the callbacks of a cache that listens. Observe goes by
// the name of the event, and RemoveSession and NewSession have been heard when
// they panic.
func mined(t testing.TB) (*resume.ClientCache, *heard, *mine) {
	c, heard := listen(t, new(resume.ClientCache))
	m := new(mine)
	onNew, onRemove, observe := c.NewSession, c.RemoveSession, c.Observe
	c.NewSession = func(s *resume.Session) {
		onNew(s)
		m.step("NewSession")
	}
	c.RemoveSession = func(s *resume.Session) {
		onRemove(s)
		m.step("RemoveSession")
	}
	c.Observe = func(e resume.Event) {
		observe(e)
		m.step(e.Kind.String())
	}
	return c, heard, m
}

// in puts the mine into a configuration, too.
func (m *mine) in(config *tls.Config) {
	config.Time = func() time.Time {
		m.step("Time")
		return time.Now()
	}
	config.VerifyConnection = func(tls.ConnectionState) error {
		m.step("VerifyConnection")
		return nil
	}
}

// stepOn runs what must step on the mine.
func stepOn(t testing.TB, f func() error) {
	t.Helper()
	require.PanicsWithValue(t, theirs, func() { f() })
}

// An attempt makes a handshake, and says whether the raw connection is closed.
type attempt struct {
	handshake func() error
	closed    func() bool
}

// attempts are the ways in that know the connection. Of NewConn's it is the
// caller who closes it.
var attempts = map[string]func(testing.TB, *resume.Scope, *tls.Config, string) attempt{
	"NewConn": func(t testing.TB, scope *resume.Scope, config *tls.Config, addr string) attempt {
		raw := rawConn(t, addr)
		conn := scope.NewConn(raw, config)
		return attempt{
			handshake: func() error {
				defer conn.Close()
				return conn.Handshake()
			},
			closed: func() bool { return isClosed(raw) },
		}
	},
	"Dialer": func(t testing.TB, scope *resume.Scope, config *tls.Config, addr string) attempt {
		var raw syscall.RawConn
		d := &resume.Dialer{Scope: scope, Config: config, NetDialer: &net.Dialer{
			Control: func(_, _ string, socket syscall.RawConn) error {
				raw = socket
				return nil
			},
		}}
		return attempt{
			handshake: func() error { return dialAndClose(d, addr) },
			closed:    func() bool { return errors.Is(raw.Control(func(uintptr) {}), net.ErrClosed) },
		}
	},
}

func isClosed(raw net.Conn) bool { return errors.Is(raw.SetDeadline(time.Time{}), net.ErrClosed) }

func dialAndClose(d *resume.Dialer, addr string) error {
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// A ticket that was sent is used, one that was not is given back, and neither
// is lost, wherever in the handshake the caller's code panics.
func TestAPanicInAHandshakeLosesNoTicket(t *testing.T) {
	for _, row := range []struct {
		where string
		skip  int
		why   string
		sent  bool
	}{
		{"Time", 0, "when a session is looked for", false},
		{"Time", 1, "when crypto/tls looks at it", false},
		{"VerifyConnection", 0, "when the server has taken it", true},
		{"RemoveSession", 0, "when it is used", true},
		{"HandshakeDone", 0, "when all is over", true},
	} {
		for name, open := range attempts {
			t.Run(row.where+" "+row.why+"/"+name, func(t *testing.T) {
				s := newSite(t, setup{})
				c, heard, m := mined(t)
				scope, config := c.Scope("tenant"), s.with(m.in)
				e := inScope[name](scope, config)
				session := e.received(t, s.Addr)

				m.lay(row.where, row.skip)
				a := open(t, scope, config, s.Addr)
				stepOn(t, a.handshake)
				require.True(t, a.closed())

				if row.sent {
					require.Equal(t, 1, s.Identities.Counts().Offered)
					require.Equal(t, "used", session.Reason())
					require.Equal(t, map[string]int{session.Info().ID: 1}, heard.ended)
					require.EqualValues(t, 1, c.Stats().Used)
				} else {
					require.Zero(t, s.Identities.Counts().Offered)
					require.True(t, session.Resumable())
					require.Empty(t, heard.ended)
					e.resumed(t, s.Addr)
				}
				_, err := e.visit(s.Addr) // NewConn's Close may have brought a ticket
				require.NoError(t, err)
				e.resumed(t, s.Addr)
				requireNoReuse(t, s.Identities)
			})
		}
	}
}

// So it is when the goroutine ends, as that of a test does in FailNow.
func TestAGoroutineThatEndsInAHandshakeLosesNoTicket(t *testing.T) {
	for name, open := range attempts {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{})
			c, heard := listen(t, new(resume.ClientCache))
			var ends atomic.Bool
			config := s.with(func(c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error {
					if ends.Swap(false) {
						runtime.Goexit()
					}
					return nil
				}
			})
			scope := c.Scope("tenant")
			e := inScope[name](scope, config)
			session := e.received(t, s.Addr)
			ends.Store(true)
			a := open(t, scope, config, s.Addr)
			over := make(chan struct{})
			go func() {
				defer close(over)
				a.handshake()
			}()
			<-over
			require.True(t, a.closed())
			require.Equal(t, "used", session.Reason())
			require.Equal(t, map[string]int{session.Info().ID: 1}, heard.ended)
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)
			requireNoReuse(t, s.Identities)
		})
	}
}

// SessionReturned is told of last.
func TestAPanicOverATicketThatIsGivenBackDoesNotKeepIt(t *testing.T) {
	s := newSite(t, setup{})
	for name, open := range attempts {
		t.Run(name, func(t *testing.T) {
			c, _, m := mined(t)
			scope := c.Scope("tenant")
			e := inScope[name](scope, s.client)
			session := e.received(t, s.Addr)
			m.lay("SessionReturned", 0)
			a := open(t, scope, s.with(otherRoots), s.Addr) // crypto/tls does not offer it
			stepOn(t, a.handshake)
			require.True(t, a.closed())
			require.True(t, session.Resumable())
			e.resumed(t, s.Addr)
			require.Equal(t, resume.Used, session.Status())
			requireNoReuse(t, s.Identities)
		})
	}
}

// alerting is a server that answers every ClientHello with handshake_failure,
// behind a proxy that counts what is offered.
func alerting(t testing.TB) *tlstest.Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			raw.Read(make([]byte, 16<<10))
			raw.Write([]byte{21, 3, 3, 0, 2, 2, 40})
			io.Copy(io.Discard, raw)
			raw.Close()
		}
	})
	proxy, err := tlstest.NewProxy(listener.Addr().String(), 1)
	require.NoError(t, err)
	t.Cleanup(func() {
		proxy.Close()
		listener.Close()
		running.Wait()
	})
	return proxy
}

// stock brings n sessions.
func (e entry) stock(t testing.TB, addr string, n int) {
	t.Helper()
	var conns []client
	for range n {
		conns = append(conns, e.connect(t, addr))
	}
	for _, conn := range conns {
		require.NoError(t, talk(conn))
		require.NoError(t, conn.Close())
	}
}

func TestAPanicOverABackOffLosesNoTicketNorTheBackOff(t *testing.T) {
	s := newSite(t, setup{})
	bad := alerting(t)
	c, heard, m := mined(t)
	scope := c.NewScope()
	e := bound(scope, s.client)
	e.stock(t, s.Addr, 4)
	m.lay("BackedOff", 0)
	for n := range 3 {
		a := attempts["NewConn"](t, scope, s.client, bad.Addr)
		if n < 2 {
			require.ErrorContains(t, a.handshake(), "handshake failure")
		} else {
			stepOn(t, a.handshake)
		}
		require.True(t, a.closed())
	}
	require.EqualValues(t, 3, c.Stats().Used)
	require.Len(t, heard.ended, 3)
	require.Error(t, attempts["NewConn"](t, scope, s.client, bad.Addr).handshake())
	require.EqualValues(t, 1, c.Stats().BackedOff)
	require.Equal(t, 3, requireNoReuse(t, bad.Identities).Offered)
	e.full(t, s.Addr) // it is one server to us
}

// The callbacks of a ticket run in whatever reads it.
func TestATicketSurvivesAPanicOverIt(t *testing.T) {
	for _, row := range []struct {
		what   string
		call   func(*resume.Conn) error
		closes bool
	}{
		{"Read", func(conn *resume.Conn) error { _, err := conn.Read(make([]byte, 1)); return err }, false},
		{"WaitSession", func(conn *resume.Conn) error { _, err := conn.WaitSession(context.Background()); return err }, false},
		{"Close", (*resume.Conn).Close, true},
		{"Shutdown", func(conn *resume.Conn) error { return conn.Shutdown(context.Background()) }, true},
	} {
		for _, where := range []string{"TicketCaptured", "NewSession"} {
			t.Run(where+" in "+row.what, func(t *testing.T) {
				s := newSite(t, setup{})
				c, heard, m := mined(t)
				scope := c.NewScope()
				raw := rawConn(t, s.Addr)
				conn := scope.NewConn(raw, s.client)
				defer conn.Close()
				require.NoError(t, conn.Handshake()) // the ticket is there
				m.lay(where, 0)
				stepOn(t, func() error { return row.call(conn) })

				session := conn.Get1Session()
				defer session.Release()
				require.Equal(t, row.closes, isClosed(raw))
				require.True(t, session.Resumable())
				require.Empty(t, heard.ended)
				require.EqualValues(t, 1, c.Stats().Captured)
				if !row.closes {
					require.NoError(t, talk(conn), "the connection goes on")
					require.NoError(t, conn.Close())
				}
				bound(scope, s.client).resumed(t, s.Addr)
				require.Equal(t, map[string]int{session.Info().ID: 1}, heard.ended)
				requireNoReuse(t, s.Identities)
			})
		}
	}
}

// What can never be resumed leaves the cache as it comes.
func TestAPanicOverAStillbornSessionDoesNotSilenceItsEnd(t *testing.T) {
	var normal atomic.Bool
	s := newSite(t, setup{server: func(c *tls.Config) {
		c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
			if normal.Load() {
				return c.EncryptTicket(cs, state)
			}
			return make([]byte, 20<<10), nil
		}
	}})
	c, heard, m := mined(t)
	scope := c.NewScope()
	conn := scope.NewConn(rawConn(t, s.Addr), s.client)
	defer conn.Close()
	require.NoError(t, conn.Handshake())
	m.lay("NewSession", 0)
	stepOn(t, func() error { return talk(conn) })
	session := conn.Get1Session()
	defer session.Release()
	assert.Equal(t, "ticket-size", session.Reason())
	assert.Equal(t, map[string]int{session.Info().ID: 1}, heard.ended)
	assert.EqualValues(t, 1, c.Stats().Failed)

	normal.Store(true)
	e := bound(scope, s.client)
	e.full(t, s.Addr)
	e.resumed(t, s.Addr)
	require.Equal(t, 1, requireNoReuse(t, s.Identities).Offered)
}

// Clear takes many sessions at once, and the first callback is not to be the
// last.
func TestAPanicInClearSparesNoSession(t *testing.T) {
	for _, row := range []struct {
		what  string
		clear func(*resume.ClientCache, *resume.Scope) error
	}{
		{"ClientCache", func(c *resume.ClientCache, _ *resume.Scope) error { return c.Clear(context.Background()) }},
		{"Scope", func(_ *resume.ClientCache, scope *resume.Scope) error { return scope.Clear(context.Background()) }},
	} {
		for skip := range 4 {
			s := newSite(t, setup{})
			c, heard, m := mined(t)
			scope := c.NewScope()
			e := bound(scope, s.client)
			e.stock(t, s.Addr, 4)
			m.lay("RemoveSession", skip)
			stepOn(t, func() error { return row.clear(c, scope) })
			for _, session := range heard.got() {
				require.Equal(t, "cleared", session.Reason(), row.what)
				require.Equal(t, 1, heard.ended[session.Info().ID], row.what)
			}
			require.EqualValues(t, 4, c.Stats().Removed)
			require.Zero(t, c.Stats().Pooled)
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)
			require.Equal(t, 1, requireNoReuse(t, s.Identities).Offered)
		}
	}
}

// A reference that a panic kept would keep the secret.
func TestAPanicKeepsNoReference(t *testing.T) {
	s := newSite(t, setup{})
	for _, row := range []struct {
		what, where string
		do          func(*resume.ClientCache, *resume.Scope) error
	}{
		{"it leaves the pool", "RemoveSession", func(c *resume.ClientCache, _ *resume.Scope) error {
			return c.Clear(context.Background())
		}},
		{"a handshake uses it", "RemoveSession", func(_ *resume.ClientCache, scope *resume.Scope) error {
			return attempts["NewConn"](t, scope, s.client, s.Addr).handshake()
		}},
		{"a handshake gives it back", "SessionReturned", func(_ *resume.ClientCache, scope *resume.Scope) error {
			return attempts["NewConn"](t, scope, s.with(otherRoots), s.Addr).handshake()
		}},
	} {
		c, _, m := mined(t)
		c.NewSession = nil // which would hold them
		scope := c.NewScope()
		e := bound(scope, s.client)
		e.stock(t, s.Addr, 1)
		borrowed := e.Get0Session(host)
		require.True(t, borrowed.Resumable())
		m.lay(row.where, 0)
		stepOn(t, func() error { return row.do(c, scope) })
		require.NoError(t, c.Clear(t.Context()))
		require.Equal(t, resume.Freed, borrowed.Status(), row.what)
	}
}

// Whatever panics on the way, Clear clears.
func TestAPanicInClearLeavesNothingBehind(t *testing.T) {
	for _, at := range []string{"RemoveSession", "SessionEnded"} {
		s := newStable(t)
		c, heard, m := mined(t)
		store, err := dirstore.Open(s.dir, dirstore.Options{})
		require.NoError(t, err)
		keys, err := ticket.NewKeyring(s.key)
		require.NoError(t, err)
		c.Store = resume.Seal(store, keys)
		t.Cleanup(func() { c.Close() })
		e := dialed(c.Scope("tenant"), s.with(onlyP256))
		e.full(t, s.Addr)
		require.NoError(t, c.Flush(t.Context()))
		require.Equal(t, 1, s.left(t))
		dialed(c.NewScope(), s.with(onlyP256)).full(t, s.Addr) // one in memory
		m.lay(at, 0)
		require.PanicsWithValue(t, theirs, func() { c.Clear(t.Context()) })
		require.Zero(t, s.left(t), at)
		e.full(t, s.Addr)
		require.Len(t, heard.ended, 1, "RemoveSession comes even when Observe panics")
	}
}
