package integration_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

// exactly is a Dialer's entry that resumes with one session.
func exactly(e entry, session *resume.Session) *resume.Dialer {
	return &resume.Dialer{Scope: e.scope, Config: e.config, Session: session}
}

func TestAnExactSessionIsUsedOnce(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), s.client)
	e.full(t, s.Addr)
	session := e.Get1Session(e.key(s.Addr))
	defer session.Release()

	conn, err := exactly(e, session).Dial("tcp", s.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.True(t, conn.ConnectionState().DidResume)
	require.True(t, conn.Get0Session().Same(session))
	_, err = exactly(e, session).Dial("tcp", s.Addr)
	require.ErrorIs(t, err, resume.ErrNotResumable)
	require.ErrorContains(t, err, resume.Used.String())

	e.full(t, s.Addr) // neither does the pool have it
	require.Equal(t, 1, requireNoReuse(t, s.Identities).Offered)
}

func TestWhyASessionIsNotResumableIsInTheError(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), s.client)
	conn := e.connect(t, s.Addr).(*resume.Conn)
	pending := conn.Get1Session()
	defer pending.Release()
	require.NoError(t, talk(conn))
	removed := conn.Get1Session()
	defer removed.Release()
	require.True(t, c.Remove(removed))
	released := removed.Retain()
	released.Release()
	e.full(t, s.Addr)
	cleared := e.Get1Session(e.key(s.Addr))
	defer cleared.Release()
	require.NoError(t, e.scope.Clear(t.Context()))

	before := s.Identities.Counts().Connections
	for session, status := range map[*resume.Session]resume.Status{
		pending: resume.Pending, removed: resume.Removed, cleared: resume.Removed, released: resume.Freed,
	} {
		_, err := exactly(e, session).Dial("tcp", s.Addr)
		require.ErrorIs(t, err, resume.ErrNotResumable)
		require.ErrorContains(t, err, status.String())
	}
	require.Equal(t, before, s.Identities.Counts().Connections, "nothing was sent")
}

// Of all who dial with one session, and those who take it from the cache, one
// gets it.
func TestOneClaimOfManyWins(t *testing.T) {
	for _, racers := range []struct {
		why            string
		exact, dialing int
	}{
		{"16 name it", 16, 0},
		{"8 name it and 8 take what there is", 8, 8},
	} {
		t.Run(racers.why, func(t *testing.T) {
			s := newSite(t, setup{})
			for range 5 {
				c := newCache(t, new(resume.ClientCache))
				e := dialed(c.NewScope(), s.client)
				e.full(t, s.Addr)
				oneWins(t, s, e, racers.exact, racers.dialing)
			}
		})
	}
}

func oneWins(t *testing.T, s *site, e entry, exact, dialing int) {
	session := e.Get1Session(e.key(s.Addr))
	defer session.Release()
	before := s.Identities.Counts()
	var wins atomic.Int64
	var all errgroup.Group
	start := make(chan struct{})
	for i := range exact + dialing {
		d := exactly(e, session)
		if i >= exact {
			d.Session = nil
		}
		all.Go(func() error {
			<-start
			conn, err := d.DialContext(context.Background(), "tcp", s.Addr)
			if errors.Is(err, resume.ErrNotResumable) {
				assert.ErrorContains(t, err, resume.Used.String())
				return nil
			}
			if err != nil {
				return err
			}
			if conn.ConnectionState().DidResume { // unread: it brings no other ticket
				wins.Add(1)
			}
			return errors.Join(conn.NetConn().Close(), ignore(conn.Close()))
		})
	}
	close(start)
	require.NoError(t, all.Wait())
	assert.EqualValues(t, 1, wins.Load())
	assert.Equal(t, resume.Used, session.Status())
	assert.Equal(t, 1, requireNoReuse(t, s.Identities).Offered-before.Offered)
}

// ignore is for what is known to fail, here a Close over a closed connection.
func ignore(error) error { return nil }

// SSL_get1_session: who holds a reference may use the session when the cache
// has no room for it any more.
func TestAHeldSessionOutlivesItsEviction(t *testing.T) {
	first, second := newSite(t, setup{}), newSite(t, setup{})
	c := newCache(t, &resume.ClientCache{MaxServers: 1})
	scope := c.NewScope()
	here, there := dialed(scope, first.client), dialed(scope, second.client)
	here.full(t, first.Addr)
	held := here.Get1Session(here.key(first.Addr))
	defer held.Release()
	borrowed := here.Get0Session(here.key(first.Addr))

	there.full(t, second.Addr)
	require.Nil(t, here.Get0Session(here.key(first.Addr)), "it had to make room")
	require.Equal(t, resume.Resumable, held.Status())
	require.Equal(t, "evicted", held.Reason())
	require.EqualValues(t, 1, c.Stats().Evicted)
	here.full(t, first.Addr)

	conn, err := exactly(here, held).Dial("tcp", first.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.True(t, conn.ConnectionState().DidResume)
	require.Equal(t, resume.Used, held.Status())
	require.Equal(t, resume.Used, borrowed.Status(), "as long as somebody holds it")
	requireNoReuse(t, first.Identities)
}

// SSL_get0_session: who holds none has a handle that goes stale, and no more.
func TestABorrowedHandleIsFreedWithItsSession(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), s.client)
	e.full(t, s.Addr)
	borrowed := e.Get0Session(e.key(s.Addr))
	id := borrowed.Info().ID
	e.resumed(t, s.Addr)

	require.Equal(t, resume.Freed, borrowed.Status())
	require.Equal(t, "used", borrowed.Reason())
	require.Equal(t, id, borrowed.Info().ID)
	_, err := exactly(e, borrowed).Dial("tcp", s.Addr)
	require.ErrorIs(t, err, resume.ErrNotResumable)
	require.ErrorContains(t, err, resume.Freed.String())
}
