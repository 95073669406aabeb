package resume

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A session whose ticket was not sent is as it was, which with a store means
// that it is on its way there.
func TestSessionGivenBackGoesToTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		c, scope, h := f.storedSession(t)
		l, err := leaseOf(h)
		require.NoError(t, err)
		require.Zero(t, f.shelf.size())
		c.core().giveBack(l)
		synctest.Wait()
		require.Equal(t, 1, f.shelf.size())
		require.EqualValues(t, 1, checkStats(t, c).Stored)
		_, ok := scope.Get(serverName)
		require.True(t, ok)
	})
}

// An alert on the connection that brought a session counts when a lease of it
// is given back.
func TestForfeitedSessionIsNotResumableOnceItIsGivenBack(t *testing.T) {
	c := new(ClientCache)
	scope := c.NewScope()
	scope.Put(serverName, newMint(t).session())
	h := scope.Get1Session(serverName)
	defer h.Release()
	l, err := leaseOf(h)
	require.NoError(t, err)
	c.core().forfeit(h.s, failedAlert)
	require.Equal(t, Used, h.Status(), "who has it may use it")
	c.core().giveBack(l)
	require.Equal(t, "alert", h.Reason())
	require.Zero(t, checkStats(t, c).Pooled)
}

// What was used by name leaves the pool with its use, not when it is met there.
func TestSessionUsedByNameLeavesThePool(t *testing.T) {
	var left []string
	c := &ClientCache{RemoveSession: func(s *Session) { left = append(left, s.Reason()) }}
	scope := c.NewScope()
	scope.Put(serverName, newMint(t).session())
	h := scope.Get1Session(serverName)
	defer h.Release()
	_, ok := h.ClientSessionCache().Get(serverName)
	require.True(t, ok)
	require.Zero(t, checkStats(t, c).Pooled)
	require.Equal(t, []string{"used"}, left)
}

// A handle that was released offers nothing, though the session is there.
func TestReleasedHandleOffersNothing(t *testing.T) {
	c := new(ClientCache)
	scope := c.NewScope()
	scope.Put(serverName, newMint(t).session())
	h := scope.Get1Session(serverName)
	offers := h.ClientSessionCache()
	h.Release()
	_, ok := offers.Get(serverName)
	require.False(t, ok)
	require.True(t, scope.Get0Session(serverName).Resumable())
}

// A configuration whose clock is past a session's end gets none, where it could
// not give it back: crypto/tls would refuse it, and nobody else had it then.
func TestSessionThatAConfigurationsClockRefusesIsNotUsedUp(t *testing.T) {
	p := newPeer(t)
	c := new(ClientCache)
	scope := c.Scope("tenant")
	require.False(t, resumes(t, p, scope))
	seen := scope.domain.view(p.client)
	ahead := &view{config: seen.config, space: seen.space, time: func() time.Time {
		return time.Now().Add(8 * 24 * time.Hour)
	}}
	find := serverKey{space: seen.space, name: serverName}
	_, ok := c.core().use(find, ahead)
	require.False(t, ok)
	_, ok = c.core().use(find, seen)
	require.True(t, ok)
}

// With Encrypted Client Hello the ticket is not seen on the wire: whatever was
// written may have carried it.
func TestTicketInAnEncryptedHelloIsTakenAsSent(t *testing.T) {
	for _, ech := range []bool{false, true} {
		c := new(ClientCache)
		scope := c.NewScope()
		scope.Put(serverName, newMint(t).session())
		h := scope.Get1Session(serverName)
		l, err := leaseOf(h)
		require.NoError(t, err)
		conn := receiver(scope)
		conn.view = &view{config: conn.view.config, space: conn.view.space, ech: ech}
		conn.wire.Conn = swallowing{conn.wire.Conn}
		conn.wire.watched = l
		flight := append([]byte{22, 3, 1, 0, 64, 1, 0, 0, 60}, make([]byte, 60)...) // a ClientHello without it
		_, err = conn.wire.Write(flight)
		require.NoError(t, err)
		require.Equal(t, ech, l.offered)
		c.core().giveBack(l)
		h.Release()
		conn.Close()
	}
}

// swallowing is a connection that takes all that is written.
type swallowing struct{ net.Conn }

func (swallowing) Write(b []byte) (int, error) { return len(b), nil }

// Clear is for another identity, and another server: nothing that was learnt of
// the old ones holds.
func TestClearForgetsWhatWasLearntOfServers(t *testing.T) {
	c := new(ClientCache)
	one, other := c.NewScope().key(serverName), c.NewScope().key(serverName)
	for _, key := range []serverKey{one, other} {
		c.core().server(key).keepApart(time.Now())
	}
	require.NoError(t, one.domain().scope().Clear(t.Context()))
	require.Nil(t, c.core().known(one))
	require.NotNil(t, c.core().known(other))
	require.NoError(t, c.Clear(t.Context()))
	require.Nil(t, c.core().known(other))
}

// A server behind ever new addresses does not make the memory of its refusals
// grow.
func TestRefusalsAreBounded(t *testing.T) {
	var s server
	now := time.Now()
	for i := range 10 * maxEndpoints {
		s.refuses(fmt.Sprint(i), now)
		require.LessOrEqual(t, len(s.refusals), maxEndpoints)
		require.True(t, s.refusedSince(fmt.Sprint(i), now))
	}
}

// A session that was pushed out is still there for who holds it, as long as its
// cache is.
func TestNothingIsLeasedOfAClosedCache(t *testing.T) {
	c := &ClientCache{TicketsPerServer: 1}
	scope, mint := c.NewScope(), newMint(t)
	scope.Put(serverName, mint.session())
	h := scope.Get1Session(serverName)
	defer h.Release()
	scope.Put(serverName, mint.session())
	require.Equal(t, "evicted", h.Reason())
	require.NoError(t, c.Close())
	_, err := leaseOf(h)
	require.ErrorIs(t, err, ErrNotResumable)
}

// A cache that cannot be made says so each time.
func TestEveryUseOfAnImpossibleCachePanics(t *testing.T) {
	client, server := &ClientCache{MaxServers: -1}, &ServerCache{MaxSessions: -1}
	require.PanicsWithValue(t, "resume: ClientCache.MaxServers is negative", func() { client.Stats() })
	require.PanicsWithValue(t, "resume: the first use of this ClientCache panicked", func() { client.Stats() })
	require.Panics(t, func() { server.Stats() })
	require.PanicsWithValue(t, "resume: the first use of this ServerCache panicked", func() { server.Stats() })
}

// The session may be gone by the time that the network has connected. Then
// there is no connection, rather than one that another session resumed.
func TestDialWithASessionThatEndsMeanwhile(t *testing.T) {
	c := new(ClientCache)
	d, addr := listening(t, c)
	have, err := d.Warm(t.Context(), "tcp", addr, 2) // another one is there
	require.NoError(t, err)
	require.Equal(t, 2, have)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	session := d.Scope.Get1Session(net.JoinHostPort(serverName, port))
	defer session.Release()
	d.Session = session
	var raw syscall.RawConn
	d.NetDialer = &net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		raw = rc
		require.True(t, c.Remove(session))
		return nil
	}}
	_, err = d.Dial("tcp", addr)
	require.ErrorIs(t, err, ErrNotResumable)
	require.ErrorContains(t, err, "Removed")
	require.Equal(t, 1, c.Stats().Pooled, "the other")
	require.ErrorIs(t, raw.Control(func(uintptr) {}), net.ErrClosed)
}

// A store that ends a dial: its caller gives up while it answers.
type givenUp struct {
	*shelf
	giveUp func()
}

func (s givenUp) Delete(ctx context.Context, key, id string) (bool, error) {
	s.giveUp()
	return s.shelf.Delete(ctx, key, id)
}

// A session that was claimed for a handshake that is not made is given back.
func TestDialWithASessionGivesItBackWhenTheCallerGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := newFleet()
	var session *Session
	c := &ClientCache{Store: Seal(givenUp{f.shelf, cancel}, f.keys), NewSession: func(h *Session) { session = h.Retain() }}
	defer c.Close()
	d, addr := listening(t, c)
	d.Scope = c.Scope("tenant")
	_, err := d.Warm(t.Context(), "tcp", addr, 1)
	require.NoError(t, err)
	defer session.Release()
	flush(t, c)
	require.Equal(t, 1, f.shelf.size())
	d.Session = session
	_, err = d.DialContext(ctx, "tcp", addr)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, Resumable, session.Status())
	conn, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	require.True(t, conn.ConnectionState().DidResume)
	require.NoError(t, conn.Close())
}
