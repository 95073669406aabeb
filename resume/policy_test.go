package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

func TestStatePutBackIsRefused(t *testing.T) {
	p := newPeer(t)
	cs := p.states(t, 1)[0]
	_, state, err := cs.ResumptionState()
	require.NoError(t, err)
	state.Extra = [][]byte{[]byte("of another layer")}
	c := new(ClientCache)
	c.Put(serverName, cs)
	c.Put(serverName, cs)   // twice
	c.Put("other.test", cs) // under another key
	got, ok := c.Get(serverName)
	require.True(t, ok)
	_, handed, err := got.ResumptionState()
	require.NoError(t, err)
	require.Equal(t, "of another layer", string(handed.Extra[0]), "other layers keep their entries")
	c.Put(serverName, got) // handed out before
	encoded, err := handed.Bytes()
	require.NoError(t, err)
	copied, err := tls.ParseSessionState(encoded)
	require.NoError(t, err)
	label, _, _ := got.ResumptionState()
	again, err := tls.NewResumptionState(label, copied)
	require.NoError(t, err)
	c.Put(serverName, again) // a copy of what was handed out
	_, ok = c.Get(serverName)
	require.False(t, ok)
	st := checkStats(t, c)
	require.EqualValues(t, 4, st.Refused)
	require.EqualValues(t, 1, st.Captured)
}

func TestWhatCryptoTLSCannotUseIsRefused(t *testing.T) {
	empty, err := tls.NewResumptionState([]byte("ticket"), new(tls.SessionState))
	require.NoError(t, err)
	c := new(ClientCache)
	for _, cs := range []*tls.ClientSessionState{new(tls.ClientSessionState), empty} {
		c.Put(serverName, cs)
	}
	c.Put(serverName, nil)
	_, ok := c.Get(serverName)
	require.False(t, ok)
	require.EqualValues(t, 2, checkStats(t, c).Refused)
}

func TestTicketsAbove16KiBAreNotOffered(t *testing.T) {
	p := newPeer(t)
	for size, want := range map[int]Status{16384: Resumable, 16385: Failed, 65000: Failed} {
		_, state, err := p.states(t, 1)[0].ResumptionState()
		require.NoError(t, err)
		cs, err := tls.NewResumptionState(make([]byte, size), state)
		require.NoError(t, err)
		var got *Session
		c := &ClientCache{NewSession: func(h *Session) { got = h.Retain() }}
		c.Put(serverName, cs)
		require.Equal(t, want, got.Status(), size)
		if want == Failed {
			require.Equal(t, "ticket-size", got.Reason())
		}
		_, ok := c.Get(serverName)
		require.Equal(t, want == Resumable, ok)
		checkStats(t, c)
	}
}

func TestUnknownEncodingIsSingleUseForMaxAge(t *testing.T) {
	p, c := newPeer(t, tls12), &ClientCache{MaxAge: time.Hour}
	cs := p.states(t, 1)[0]
	plain := c.core().plain
	s := c.core().newSession(plain.key(serverName), live)
	s.setInfo(&ticket.Info{Size: 100}, &origin{key: s.key}, time.Now()) // all that inspect says of one
	s.name(make([]byte, 100))
	s.state.Store(cs)
	c.core().keep(s, 100, nil)
	s.release()
	h := c.Get0Session(serverName)
	require.WithinDuration(t, time.Now().Add(time.Hour), h.Info().Expires, time.Minute)
	_, ok := c.Get(serverName)
	require.True(t, ok)
	_, ok = c.Get(serverName)
	require.False(t, ok)
}

func TestTLS12SessionIsSharedAsFreshCopies(t *testing.T) {
	p, c := newPeer(t, tls12), new(ClientCache)
	config := p.plugged(c)
	require.False(t, p.plain(t, config).DidResume)
	a, ok := c.Get(serverName)
	require.True(t, ok)
	b, ok := c.Get(serverName)
	require.True(t, ok)
	_, stateA, _ := a.ResumptionState()
	_, stateB, _ := b.ResumptionState()
	require.NotSame(t, stateA, stateB)
	for range 3 {
		require.True(t, p.plain(t, config).DidResume)
	}
	newest := c.Get1Session(serverName)
	defer newest.Release()
	require.Equal(t, Resumable, newest.Status())
	c.Put(serverName, nil)
	require.Equal(t, Failed, newest.Status(), "a nil Put ends the newest TLS 1.2 session")
	require.EqualValues(t, 1, checkStats(t, c).Failed)
}

func TestNilPutTouchesNoTLS13Session(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	p.plain(t, p.plugged(c))
	c.Put(serverName, nil)
	require.True(t, c.Get0Session(serverName).Resumable())
}

func TestClearBeatsATicketInFlight(t *testing.T) {
	for _, all := range []bool{false, true} {
		p, c := newPeer(t), new(ClientCache)
		scope := c.Scope("tenant")
		conn := p.bound(t, scope, false)
		if all {
			require.NoError(t, c.Clear(context.Background()))
		} else {
			require.NoError(t, scope.Clear(context.Background()))
		}
		exchange(t, conn) // brings the ticket
		require.Equal(t, Removed, conn.Get0Session().Status())
		require.Equal(t, "cleared", conn.Get0Session().Reason())
		require.False(t, p.bound(t, scope, true).ConnectionState().DidResume)
		require.True(t, p.bound(t, scope, true).ConnectionState().DidResume)
		require.EqualValues(t, 1, checkStats(t, c).Removed)
	}
}

func TestScopesAndConfigurationsAreApart(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	require.Same(t, c.Scope("a"), c.Scope("a"))
	p.bound(t, c.Scope("a"), true)
	require.False(t, p.bound(t, c.Scope("b"), true).ConnectionState().DidResume)
	require.False(t, p.bound(t, c.NewScope(), true).ConnectionState().DidResume)
	require.False(t, p.plain(t, p.plugged(c.Scope("a"))).DidResume, "plugged directly nothing is known")
	require.False(t, p.plain(t, c.TLSConfig(p.client)).DidResume)
	for why, change := range map[string]func(*tls.Config){
		"trust":   func(c *tls.Config) { c.InsecureSkipVerify = true },
		"version": func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 },
		"hook":    func(c *tls.Config) { c.VerifyConnection = func(tls.ConnectionState) error { return nil } },
		"client":  func(c *tls.Config) { c.Certificates = p.server.Certificates },
	} {
		other := *p
		other.client = p.client.Clone()
		change(other.client)
		require.False(t, other.bound(t, c.Scope("a"), true).ConnectionState().DidResume, why)
	}
	require.True(t, p.bound(t, c.Scope("a"), true).ConnectionState().DidResume)
}

// TLSConfig clones its base, so that its owner may change it and give it again.
func TestABaseThatHasChangedIsAnotherConfiguration(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("clients"))
	p, scope := newPeer(t, func(server, _ *tls.Config) {
		server.ClientAuth = tls.RequireAnyClientCert
	}), new(ClientCache).NewScope()
	var configs []*tls.Config
	for _, name := range []string{"alice", "bob"} {
		p.client.Certificates = []tls.Certificate{tlstest.Must(ca.Issue(tlstest.Leaf{Client: true, Names: []string{name}}))}
		configs = append(configs, scope.TLSConfig(p.client))
	}
	require.False(t, p.plain(t, configs[0]).DidResume)
	require.False(t, p.plain(t, configs[1]).DidResume, "bob came as alice")
	for _, config := range configs {
		require.True(t, p.plain(t, config).DidResume)
	}
}

func TestScopesLeaveNothingBehind(t *testing.T) {
	c := new(ClientCache)
	for i := range 1000 {
		c.Scope(string(rune('a' + i)))
	}
	names := c.core().names
	for range 10 { // clean-ups run some while after the collection
		runtime.GC()
		runtime.Gosched()
	}
	require.Eventually(t, func() bool {
		names.mu.Lock()
		defer names.mu.Unlock()
		return len(names.byName) == 0
	}, 10*time.Second, time.Millisecond)
}

func TestCancelledContextCostsNoTicket(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.NewScope()
	p.bound(t, scope, true)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for range 50 {
		require.ErrorIs(t, scope.NewConn(p.serve(), p.client).HandshakeContext(over), context.Canceled)
	}
	require.True(t, p.bound(t, scope, true).ConnectionState().DidResume)
}

// deadConn takes no byte.
type deadConn struct{ net.Conn }

func (deadConn) Write([]byte) (int, error) { return 0, errors.New("dead") }

func TestTicketThatWasNotSentIsGivenBack(t *testing.T) {
	p := newPeer(t)
	var events []Event
	c := &ClientCache{Observe: func(e Event) { events = append(events, e) }}
	scope := c.NewScope()
	first := p.bound(t, scope, true).Get0Session()
	events = nil
	require.Error(t, scope.NewConn(deadConn{p.serve()}, p.client).Handshake())
	require.Equal(t, []EventKind{SessionReturned}, kinds(events))
	require.True(t, first.Resumable())
	require.True(t, p.bound(t, scope, true).ConnectionState().DidResume)
	require.Zero(t, p.seen.Counts().Reused)
	require.EqualValues(t, 1, checkStats(t, c).Back)
}

func TestFirstFlightCarriesTheTicketOrIsTakenToDo(t *testing.T) {
	hello := func(record, message byte) []byte {
		return append([]byte{22, 3, 1, 0, record, 1, 0, 0, message}, "...ticket..."...)
	}
	for _, row := range []struct {
		flight, ticket string
		want           bool
		why            string
	}{
		{string(hello(16, 12)), "ticket", true, "it is there"},
		{string(hello(16, 12)), "another", false, "it is not"},
		{string(hello(16, 13)), "another", true, "the hello goes on in another record"},
		{"short", "another", true, "unreadable"},
	} {
		require.Equal(t, row.want, carriesTicket([]byte(row.flight), []byte(row.ticket)), row.why)
	}
}

func TestSessionsExpireByTheTightestLimit(t *testing.T) {
	for _, row := range []struct {
		cache  *ClientCache
		after  time.Duration
		reason string
	}{
		{&ClientCache{}, day, "leaf-expired"}, // before the 7 days of a Go server
		{&ClientCache{MaxAge: time.Hour}, time.Hour, "max-age"},
		{&ClientCache{MaxChainAge: 2 * time.Hour}, 2 * time.Hour, "chain-age"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			conn := p.bound(t, row.cache.NewScope(), true)
			h := conn.Get1Session()
			defer h.Release()
			conn.Close()
			time.Sleep(row.after - 2*time.Second)
			require.Equal(t, Resumable, h.Status())
			time.Sleep(3 * time.Second)
			require.Equal(t, Expired, h.Status())
			require.Equal(t, row.reason, h.Reason())
			require.Equal(t, 1, row.cache.Sweep())
			require.EqualValues(t, 1, checkStats(t, row.cache).Expired)
		})
	}
}

func TestClockBeforeReceiptIsNotNow(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	p.plain(t, p.plugged(c))
	s := c.Get0Session(serverName).s
	require.Equal(t, none, s.lapsed(s.info().Received.Round(0).Add(-clockSlack)))
	require.Equal(t, clockBack, s.lapsed(s.info().Received.Round(0).Add(-clockSlack-1)))
	verdict, why := s.fit(s.info().Received.Round(0).Add(-time.Hour), time.Time{})
	require.EqualValues(t, 0, verdict, "skipped, not dropped")
	require.Equal(t, "clock", why)
	require.True(t, c.Get0Session(serverName).Resumable())
}

// A session that cannot be copied is no session for the handshake, which is
// counted as one that got none.
func TestHandshakeThatGotNoCopyIsCountedAsMissed(t *testing.T) {
	p, c := newPeer(t, tls12), new(ClientCache)
	ticketBytes, state, err := p.states(t, 1)[0].ResumptionState()
	require.NoError(t, err)
	state.Extra = [][]byte{make([]byte, 1<<24)} // too long to encode
	c.Put(serverName, tlstest.Must(tls.NewResumptionState(ticketBytes, state)))
	require.Equal(t, 1, c.Stats().Pooled)
	_, ok := c.Get(serverName)
	require.False(t, ok)
	require.EqualValues(t, 1, c.Stats().Missed)
	require.EqualValues(t, 1, checkStats(t, c).Failed)
}

// A callback that panics over one session costs no other: the newest is over,
// and while that is told, the one beneath is claimed.
func TestAPanicOverOneSessionLosesNoOther(t *testing.T) {
	for _, change := range []func(_, _ *tls.Config){func(_, _ *tls.Config) {}, tls12} {
		states := newPeer(t, change).states(t, 2)
		c := &ClientCache{RemoveSession: func(s *Session) {
			if s.Status() == Expired {
				panic("of the user's")
			}
		}}
		c.Put(serverName, states[0])
		good := c.Get1Session(serverName)
		c.Put(serverName, states[1])
		over := c.Get1Session(serverName)
		over.s.expires = over.s.received - 1
		require.PanicsWithValue(t, "of the user's", func() { c.Get(serverName) })
		require.True(t, good.Resumable())
		checkStats(t, c)
		_, ok := c.Get(serverName)
		require.True(t, ok)
		good.Release()
		over.Release()
		require.Equal(t, good.s.reusable(), good.s.refs.Load() == 1, "the pool's, if it is still there")
	}
}
