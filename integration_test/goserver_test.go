package integration_test

import (
	"crypto/tls"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

// A heard is what the callbacks of a cache were told, each session once held.
type heard struct {
	mu       sync.Mutex
	sessions []*resume.Session // of NewSession, in order
	ended    map[string]int    // calls of RemoveSession by ID
	events   []resume.Event
}

// listen adds callbacks to a cache. They keep what they borrow until the test
// ends.
func listen(t testing.TB, c *resume.ClientCache) (*resume.ClientCache, *heard) {
	newCache(t, c)
	h := &heard{ended: make(map[string]int)}
	t.Cleanup(func() { // before the books are checked
		for _, s := range h.got() {
			s.Release()
		}
	})
	c.NewSession = func(s *resume.Session) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sessions = append(h.sessions, s.Retain())
	}
	c.RemoveSession = func(s *resume.Session) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ended[s.Info().ID]++
	}
	c.Observe = func(e resume.Event) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events = append(h.events, e)
	}
	return c, h
}

func (h *heard) got() []*resume.Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*resume.Session(nil), h.sessions...)
}

func (h *heard) count(kind resume.EventKind) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestTheSecondConnectionIsResumed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		for _, w := range ways {
			t.Run(tls.VersionName(version)+"/"+w.name, func(t *testing.T) {
				s := newSite(t, setup{server: func(c *tls.Config) { c.MaxVersion = version }})
				c := newCache(t, new(resume.ClientCache))
				e := w.open(c, s.client)

				e.full(t, s.Addr)
				e.resumed(t, s.Addr)
				e.resumed(t, s.Addr)

				// The Go server sends a ticket with each handshake, TLS 1.2 too.
				counts, st := requireNoReuse(t, s.Identities), c.Stats()
				assert.Equal(t, 2, counts.Offered)
				assert.EqualValues(t, 3, st.Captured)
				if w.name != "ClientCache" && w.name != "Scope" { // they see no handshake
					assert.EqualValues(t, 1, st.Full)
					assert.EqualValues(t, 2, st.Resumed)
				}
			})
		}
	}
}

// Get0Session and Get1Session by server: the newest that is still in the
// cache, under crypto/tls's key, or name:port for a Dialer.
func TestTheServersSessionIsTheNewestStillKept(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c, heard := listen(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			key := e.key(s.Addr)
			require.Nil(t, e.Get0Session(key), "before the first connection")
			require.Nil(t, e.Get1Session(key))

			first, second := e.connect(t, s.Addr), e.connect(t, s.Addr)
			require.NoError(t, talk(first))
			require.NoError(t, talk(second))

			got := heard.got()
			require.Len(t, got, 2)
			require.True(t, e.Get0Session(key).Same(got[1]))
			held := e.Get1Session(key)
			defer held.Release()
			require.True(t, held.Same(got[1]))
			require.Equal(t, resume.Resumable, held.Status())
			require.Equal(t, host, held.Info().ServerName)
			require.Nil(t, e.Get0Session("other.test"))
			if e.port {
				require.Nil(t, e.Get0Session(host), "a Dialer's sessions are under name:port")
			}

			third := e.connect(t, s.Addr) // takes the newest, and brings none yet
			require.True(t, third.ConnectionState().DidResume)
			require.Equal(t, resume.Used, held.Status())
			require.True(t, e.Get0Session(key).Same(got[0]))
			requireNoReuse(t, s.Identities)
		})
	}
}

// Get0Session and Get1Session by connection.
func TestAConnectionsSessionIsPendingThenEachNewOne(t *testing.T) {
	s := newSite(t, setup{})
	for _, scope := range []string{"NewConn", "Dialer"} {
		t.Run(scope, func(t *testing.T) {
			c, heard := listen(t, new(resume.ClientCache))
			e := map[string]entry{
				"NewConn": bound(c.NewScope(), s.client),
				"Dialer":  dialed(c.NewScope(), s.client),
			}[scope]

			conn := e.connect(t, s.Addr).(*resume.Conn)
			pending := conn.Get0Session()
			require.Equal(t, resume.Pending, pending.Status())
			require.False(t, pending.Resumable())
			require.Equal(t, host, pending.Info().ServerName)
			require.True(t, pending.Same(conn.Get0Session()), "one object, not one a call")
			require.NoError(t, talk(conn))
			first := conn.Get1Session()
			defer first.Release()
			require.True(t, first.Same(heard.got()[0]))
			require.False(t, first.Same(pending), "nothing is promoted")
			require.Equal(t, resume.Resumable, first.Status())
			require.NoError(t, conn.Close())

			again := e.connect(t, s.Addr).(*resume.Conn)
			require.True(t, again.ConnectionState().DidResume)
			require.True(t, again.Get0Session().Same(first), "the session it was resumed with")
			require.Equal(t, resume.Used, again.Get0Session().Status())
			require.NoError(t, talk(again))
			second := again.Get0Session()
			require.True(t, second.Same(heard.got()[1]))
			require.Equal(t, resume.Resumable, second.Status())
			require.NoError(t, again.Close())
			require.Equal(t, resume.Resumable, second.Status(), "the cache still has it")
		})
	}
}

func TestAConnectionHasNoSessionBeforeItsHandshake(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	e := bound(c.NewScope(), s.client)
	e.full(t, s.Addr)

	conn := e.wrap(rawConn(t, s.Addr)).(*resume.Conn)
	defer conn.Close()
	require.Nil(t, conn.Get0Session())
	require.Nil(t, conn.Get1Session())
	require.NoError(t, conn.Handshake())
	require.Equal(t, resume.Used, conn.Get0Session().Status())
}

func TestCallbacksSeeEveryTicketOnce(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c, heard := listen(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			const turns, crowd = 4, 8
			resumed := 0
			for range turns {
				resumed += e.crowd(t, s.Addr, crowd)
			}

			ids := make(map[string]bool)
			for _, got := range heard.got() {
				assert.False(t, ids[got.Info().ID], "%v came twice", got)
				ids[got.Info().ID] = true
			}
			assert.Len(t, ids, turns*crowd, "as many as the server sent")
			assert.Len(t, heard.ended, resumed, "those that were used, and no other")
			for id, n := range heard.ended {
				assert.Equal(t, 1, n, id)
			}
			assert.Equal(t, turns*crowd, heard.count(resume.TicketCaptured))
			assert.Equal(t, resumed, heard.count(resume.SessionEnded))
			requireNoReuse(t, s.Identities)
		})
	}
}

// One TLS 1.2 session serves many connections at once, each with a copy of its
// own: the race detector watches (rule T8).
func TestATLS12SessionIsSharedAsCopies(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{server: func(c *tls.Config) {
				onlyTLS12(c)
				// One ticket in all, or each connection would bring the next.
				c.WrapSession = onlyOnce(c)
			}})
			c, heard := listen(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			e.full(t, s.Addr)
			const crowd, turns = 16, 3
			for range turns {
				require.Equal(t, crowd, e.crowd(t, s.Addr, crowd))
			}

			counts, st := s.Identities.Counts(), c.Stats()
			assert.Equal(t, crowd*turns, counts.Offered)
			assert.Equal(t, crowd*turns-1, counts.Reused, "the same ticket every time")
			assert.EqualValues(t, crowd*turns, st.Shared)
			assert.Zero(t, st.Used)
			only := e.Get0Session(e.key(s.Addr))
			assert.True(t, only.Same(heard.got()[0]))
			assert.Equal(t, resume.Resumable, only.Status())
			assert.True(t, only.Info().ExtendedMasterSecret)
			assert.EqualValues(t, tls.VersionTLS12, only.Info().Version)
		})
	}
}

// With TLS 1.2 the session is there when the handshake is over.
func TestATLS12ConnectionHasItsSessionAtOnce(t *testing.T) {
	s := newSite(t, setup{server: func(c *tls.Config) {
		onlyTLS12(c)
		c.WrapSession = onlyOnce(c)
	}})
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), s.client)

	conn := e.connect(t, s.Addr).(*resume.Conn)
	session := conn.Get1Session()
	defer session.Release()
	require.Equal(t, resume.Resumable, session.Status())

	again := e.connect(t, s.Addr).(*resume.Conn)
	require.True(t, again.ConnectionState().DidResume)
	require.True(t, again.Get0Session().Same(session), "the session it was resumed with")
	require.Equal(t, resume.Resumable, again.Get0Session().Status(), "it may be used again")

	chosen := &resume.Dialer{Scope: e.scope, Config: s.client, Session: session}
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			conn, err := chosen.DialContext(t.Context(), "tcp", s.Addr)
			if err != nil {
				return err
			}
			defer conn.Close()
			assert.True(t, conn.ConnectionState().DidResume)
			return talk(conn)
		})
	}
	require.NoError(t, all.Wait())
}
