package resume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A session that is not there is the usual thing before the first ticket, and
// has an answer to everything.
func TestNoSessionReadsUnknown(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	some := p.bound(t, c.NewScope(), true).Get1Session()
	defer some.Release()
	require.True(t, some.Same(some))
	for _, h := range []*Session{nil, new(Session)} {
		require.Equal(t, Unknown, h.Status())
		require.Empty(t, h.Reason())
		require.False(t, h.Resumable())
		require.Zero(t, h.Info())
		require.Nil(t, h.Retain())
		require.False(t, h.Same(h))
		require.False(t, h.Same(some))
		require.False(t, some.Same(h))
		require.False(t, c.Remove(h))
		require.False(t, new(ServerCache).Remove(h))
		require.Equal(t, "Session(none)", fmt.Sprintf("%v", h))
		h.Release()
	}
}

func TestBorrowedHandleReadsFreedWhenAllHaveLetGo(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	config := p.plugged(c)
	p.plain(t, config)
	borrowed := c.Get0Session(serverName)
	require.Equal(t, Resumable, borrowed.Status())
	_, ok := c.Get(serverName)
	require.True(t, ok)
	require.Equal(t, Freed, borrowed.Status())
	require.Equal(t, "used", borrowed.Reason())
	require.Nil(t, borrowed.s.state.Load(), "ticket and secret are let go")
	require.Panics(t, borrowed.Release)
	again := borrowed.Retain()
	require.Equal(t, Freed, again.Status())
	again.Release()
	require.Panics(t, again.Release)
}

func TestCountedHandleKeepsAnEvictedSessionUsable(t *testing.T) {
	p, c := newPeer(t), &ClientCache{MaxServers: 1}
	scope := c.NewScope()
	p.bound(t, scope, true).Close()
	held := scope.Get1Session(serverName)
	require.Equal(t, 1, c.Stats().Handles)
	p.client.ServerName = "other.test"
	p.client = p.client.Clone() // a Config must not change after first use
	p.bound(t, scope, true).Close()
	require.Nil(t, scope.Get0Session(serverName))
	require.Equal(t, Resumable, held.Status())
	require.Equal(t, "evicted", held.Reason())
	require.EqualValues(t, 1, checkStats(t, c).Evicted)

	other := held.Retain()
	require.True(t, held.Same(other))
	held.Release()
	require.Equal(t, Freed, held.Status())
	require.Equal(t, Resumable, other.Status(), "each handle counts for itself")
	require.Panics(t, held.Release, "a second release is the panic of who did it")
	require.Equal(t, Resumable, other.Status())
	other.Release()
	require.Zero(t, c.Stats().Handles)
}

func TestRemoveEndsASessionForAllOnce(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.NewScope()
	conn := p.bound(t, scope, true)
	held := conn.Get1Session()
	defer held.Release()
	require.False(t, new(ClientCache).Remove(held), "of another cache")
	require.True(t, c.Remove(held))
	require.False(t, c.Remove(held))
	require.Equal(t, Removed, held.Status())
	require.Equal(t, "removed", held.Reason())
	require.Nil(t, scope.Get0Session(serverName))
	require.EqualValues(t, 1, checkStats(t, c).Removed)
}

func TestConnShowsPendingThenEachNewSession(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.NewScope()
	conn := scope.NewConn(p.serve(), p.client)
	defer conn.Close()
	require.Nil(t, conn.Get0Session(), "before the handshake")
	require.Nil(t, conn.Get1Session())
	require.NoError(t, conn.Handshake())
	pending := conn.Get1Session()
	require.Equal(t, Pending, pending.Status())
	require.Equal(t, "no-ticket", pending.Reason())
	require.Equal(t, serverName, pending.Info().ServerName)
	require.False(t, c.Remove(pending))
	exchange(t, conn)
	first := conn.Get0Session()
	require.Equal(t, Resumable, first.Status())
	require.False(t, first.Same(pending), "nothing is promoted")

	resumed := p.bound(t, scope, false)
	require.True(t, resumed.ConnectionState().DidResume)
	require.True(t, resumed.Get0Session().Same(first))
	require.Equal(t, Used, resumed.Get0Session().Status())
	exchange(t, resumed)
	require.Equal(t, Resumable, resumed.Get0Session().Status())
	require.False(t, resumed.Get0Session().Same(first))

	conn.Close()
	require.Equal(t, Failed, pending.Status())
	pending.Release()
	st := checkStats(t, c)
	require.EqualValues(t, 2, st.Captured)
	require.EqualValues(t, 1, st.Full)
	require.EqualValues(t, 1, st.Resumed)
	require.Zero(t, p.seen.Counts().Reused)
}

func TestEverySessionIsAnnouncedThenLeavesOnce(t *testing.T) {
	p := newPeer(t)
	var story []string
	c := &ClientCache{
		NewSession:    func(h *Session) { story = append(story, "new "+h.Status().String()) },
		RemoveSession: func(h *Session) { story = append(story, "gone "+h.Status().String()+" "+h.Reason()) },
	}
	config := p.plugged(c)
	p.plain(t, config)
	require.True(t, p.plain(t, config).DidResume)
	require.NoError(t, c.Clear(context.Background()))
	require.Equal(t, []string{"new Resumable", "gone Used used", "new Resumable", "gone Removed cleared"}, story)
}

func TestCallbacksMayCallTheCache(t *testing.T) {
	p := newPeer(t)
	c := new(ClientCache)
	calls := 0
	use := func() {
		calls++
		c.Get0Session(serverName)
		held := c.Get1Session(serverName)
		held.Release()
		c.Sweep()
		_ = c.Stats()
		_ = c.String()
		require.NoError(t, c.NewScope().Clear(context.Background()))
	}
	c.NewSession = func(h *Session) { h.Retain().Release(); use() }
	c.RemoveSession = func(*Session) { use() }
	c.Observe = func(e Event) {
		if e.Kind != Cleared { // which use itself brings about
			use()
		}
	}
	config := p.plugged(c)
	p.plain(t, config)
	p.plain(t, config)
	require.Positive(t, calls)
	checkStats(t, c)
}

func TestPanickingCallbackLeavesTheCacheUsable(t *testing.T) {
	p := newPeer(t)
	states := p.states(t, 2)
	c := &ClientCache{NewSession: func(*Session) { panic("theirs") }}
	require.PanicsWithValue(t, "theirs", func() { c.Put(serverName, states[0]) })
	require.PanicsWithValue(t, "theirs", func() { c.Put(serverName, states[1]) })
	for range states {
		_, ok := c.Get(serverName)
		require.True(t, ok)
	}
	require.EqualValues(t, 2, checkStats(t, c).Used)
}

func TestNegativeFieldsAreRefusedLoudly(t *testing.T) {
	for _, c := range []*ClientCache{
		{MaxServers: -1}, {TicketsPerServer: -1}, {MaxBytes: -1}, {MaxAge: -1}, {MaxChainAge: -time.Second},
	} {
		require.Panics(t, func() { c.Stats() })
	}
	require.Panics(t, func() { new(ClientCache).Scope("") })
}

func TestNoFormattingShowsASecret(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.Scope("tenant")
	conn := p.bound(t, scope, true)
	held := conn.Get1Session()
	defer held.Release()
	id := held.Info().ID
	event := Event{Kind: SessionEnded, Scope: "tenant", Server: serverName, Session: held, Reason: "used"}
	for _, row := range []struct {
		value any
		want  string
	}{
		{held, "Session(" + id + " Resumable)"},
		{scope, `Scope("tenant")`},
		{c.NewScope(), "Scope(unnamed)"},
		{conn, "Conn(pipe)"},
		{Dialer{Scope: scope, Config: p.client}, `Dialer(Scope("tenant"))`},
		{&Dialer{Scope: scope, Config: p.client}, `Dialer(Scope("tenant"))`},
		{c, fmt.Sprintf("ClientCache(1 servers, 1 sessions, %d bytes)", held.Info().Size)},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			require.Equal(t, row.want, fmt.Sprintf(verb, row.value), verb)
		}
		logged := row.value.(slog.LogValuer).LogValue()
		if _, ok := row.value.(*Session); !ok { // a group, below
			require.Equal(t, row.want, logged.String())
		}
	}
	require.Equal(t, `SessionEnded scope="tenant" server="server.test" Session(`+id+` Resumable) reason=used`, event.String())
	require.Equal(t, "resume.Event("+event.String()+")", fmt.Sprintf("%#v", event))
	require.Equal(t, "[id="+id+" status=Resumable reason=]", held.LogValue().String())
	require.Contains(t, event.LogValue().String(), "kind=SessionEnded")
	require.True(t, strings.HasPrefix(c.Stats().String(), "captured 1 = used 0"))
	require.Equal(t, "[Unknown Pending Resumable Used Expired Failed Removed Freed Status(8)]",
		fmt.Sprint([]Status{Unknown, Pending, Resumable, Used, Expired, Failed, Removed, Freed, 8}))
	require.Equal(t, "EventKind(99)", EventKind(99).String())
}

// The sets say what the table says.
func TestVerdictsAreOpenUntilTheyAreFinal(t *testing.T) {
	for i, row := range verdicts {
		v := verdict(i)
		open := row.status == Pending || row.status == Resumable || row.reason == "leased"
		require.Equal(t, open, v.open(), i)
		require.Equal(t, open && v != pending && v != live && v != evicted && v != stored, v.isLeased(), i)
	}
	require.Less(t, len(verdicts), 64)
}

// ErrNoTicket is for whatever keeps a session from coming, and a cache that is
// closed keeps none.
func TestNoSessionIsWaitedForOnceTheCacheIsClosed(t *testing.T) {
	var c ClientCache
	d, addr := listening(t, &c)
	early, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	defer early.Close()
	require.NoError(t, c.Close())
	late, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	defer late.Close()
	for _, conn := range []*Conn{early, late} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = conn.WaitSession(ctx)
		require.True(t, errors.Is(err, ErrNoTicket), "%v", err)
	}
}
