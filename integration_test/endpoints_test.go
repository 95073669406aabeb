package integration_test

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A farm is several servers behind one name, as a load balancer or DNS spreads
// connections over them. They count together.
type farm struct {
	client  *tls.Config
	seen    *tlstest.Identities
	configs []*tls.Config // one for each server, for its ticket keys
	servers []*tlstest.Server
}

// newFarm makes servers whose ticket keys are shared or their own.
func newFarm(t testing.TB, servers int, shared bool) *farm {
	t.Helper()
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	leaf := issue(ca, host)
	f := &farm{
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: host},
		seen:   new(tlstest.Identities),
	}
	onlyP256(f.client)
	for n := range servers {
		config := &tls.Config{Certificates: []tls.Certificate{leaf}}
		if newKeys(config); shared && n > 0 {
			config = f.configs[0]
		}
		f.configs = append(f.configs, config)
		f.servers = append(f.servers, serve(t, tlstest.Options{Config: config, Identities: f.seen}))
	}
	return f
}

// A balancer says where the next connection goes.
type balancer func() int

func (f *farm) random(seed uint64) balancer {
	random := rand.New(rand.NewPCG(seed, 64))
	return func() int { return random.IntN(len(f.servers)) }
}

// roundRobin starts anew at another server each time it has been around, or
// every round would go to the same servers.
func (f *farm) roundRobin(seed uint64) balancer {
	next := int(seed)
	return func() int { next++; return next % len(f.servers) }
}

// rounds makes as many connections at once as told to, again and again, and
// returns how many of each round were resumed.
func (f *farm) rounds(t testing.TB, e entry, choose balancer, parallel, rounds int) []int {
	t.Helper()
	resumed := make([]int, rounds)
	for round := range rounds {
		var all errgroup.Group
		var did atomic.Int64
		for range parallel {
			addr := f.servers[choose()].Addr
			all.Go(func() error {
				ok, err := e.visit(addr)
				if ok {
					did.Add(1)
				}
				return err
			})
		}
		require.NoError(t, all.Wait())
		resumed[round] = int(did.Load())
	}
	return resumed
}

func percentOf(resumed []int, parallel int) float64 {
	sum := 0
	for _, n := range resumed {
		sum += n
	}
	return 100 * float64(sum) / float64(parallel*len(resumed))
}

func TestServersWithKeysOfTheirOwnAreResumedWithTheirOwnTickets(t *testing.T) {
	const rounds = 200
	for seed, row := range []struct{ servers, parallel int }{{2, 1}, {2, 8}, {2, 64}, {5, 1}, {5, 8}, {5, 64}} {
		for _, choice := range []string{"random", "round robin"} {
			t.Run(fmt.Sprintf("%d servers, %d parallel, %s", row.servers, row.parallel, choice), func(t *testing.T) {
				if testing.Short() && row.parallel > 8 {
					t.Skip("thousands of handshakes")
				}
				f := newFarm(t, row.servers, false)
				c := newCache(t, new(resume.ClientCache))
				e := bound(c.NewScope(), f.client)
				choose := f.random(uint64(seed))
				if choice == "round robin" {
					choose = f.roundRobin(uint64(seed))
				}
				resumed := f.rounds(t, e, choose, row.parallel, rounds)
				all, late := percentOf(resumed, row.parallel), percentOf(resumed[rounds/2:], row.parallel)
				t.Logf("%.1f %% resumed, %.1f %% in the second half", all, late)
				assert.GreaterOrEqual(t, all, 95.0)
				assert.GreaterOrEqual(t, late, 99.0)
				requireNoReuse(t, f.seen)
			})
		}
	}
}

// Where the keys are shared, knowing the endpoint must cost nothing. A scope
// that is plugged in goes by the name alone.
func TestServersThatShareKeysAreOneServer(t *testing.T) {
	const rounds, parallel = 50, 8
	for _, servers := range []int{2, 5} {
		f := newFarm(t, servers, true)
		c := newCache(t, new(resume.ClientCache))
		scope := c.NewScope()
		byName := plugged(f.client, scope, scope)
		byEndpoint := bound(scope, f.client)
		name := percentOf(f.rounds(t, byName, f.random(7), parallel, rounds), parallel)
		endpoint := percentOf(f.rounds(t, byEndpoint, f.random(7), parallel, rounds), parallel)
		t.Logf("%d servers: by name %.2f %%, by endpoint %.2f %%", servers, name, endpoint)
		assert.InDelta(t, name, endpoint, 0.5)
		requireNoReuse(t, f.seen)
	}
}

// One of them gets new keys in mid run. Its tickets are dead; the first that is
// refused takes the others with it, and no other server's.
func TestNewKeysOfOneServerCostItsOwnTicketsOnly(t *testing.T) {
	const crowd, few, rounds, servers = 30, 3, 60, 3
	f := newFarm(t, servers, false)
	c, heard := listen(t, new(resume.ClientCache))
	e := bound(c.NewScope(), f.client)
	choose := f.roundRobin(0)
	before := f.rounds(t, e, choose, crowd, rounds) // leaves crowd/servers tickets of each
	newKeys(f.configs[0])
	after := f.rounds(t, e, choose, few, rounds)

	assert.GreaterOrEqual(t, percentOf(before, crowd), 95.0)
	assert.GreaterOrEqual(t, percentOf(after[1:], few), 99.0, "one round finds out")
	assert.GreaterOrEqual(t, after[0], few-few/servers, "on one server")
	dropped := 0
	for _, s := range heard.got() {
		if s.Reason() == "refused" {
			assert.Equal(t, f.servers[0].Addr, s.Info().Endpoint)
			dropped++
		}
	}
	assert.GreaterOrEqual(t, dropped, crowd/servers-few)
	requireNoReuse(t, f.seen)
}

// Single dials, so that it can be said of each what becomes of it.
func TestARefusalSaysWhoseTicketsAreWorthless(t *testing.T) {
	f := newFarm(t, 2, false)
	c := newCache(t, new(resume.ClientCache))
	e := bound(c.NewScope(), f.client)
	here, there := f.servers[0].Addr, f.servers[1].Addr
	const stock = 3
	var conns []client
	for range stock {
		conns = append(conns, e.connect(t, here))
	}
	var sessions []*resume.Session
	for _, conn := range conns {
		require.NoError(t, talk(conn))
		session := conn.(*resume.Conn).Get1Session()
		defer session.Release()
		require.Equal(t, here, session.Info().Endpoint)
		sessions = append(sessions, session)
	}

	e.full(t, there) // with one of the others' tickets, which is refused
	require.Equal(t, resume.Used, sessions[stock-1].Status())
	require.Equal(t, 1, f.seen.Counts().Offered)
	e.resumed(t, there)
	glance := func(addr string) (resumed bool) { // takes a ticket and brings none
		conn := e.connect(t, addr)
		defer conn.Close()
		require.NoError(t, conn.NetConn().Close())
		return conn.ConnectionState().DidResume
	}
	require.True(t, glance(there))
	before := f.seen.Counts().Offered
	require.False(t, glance(there))
	require.Equal(t, before, f.seen.Counts().Offered, "and no other is tried there for a while")
	require.True(t, sessions[0].Resumable() && sessions[1].Resumable(), "a refusal elsewhere says nothing of them")

	newKeys(f.configs[0])
	e.full(t, here) // refused at home
	require.Equal(t, resume.Used, sessions[1].Status())
	require.Equal(t, resume.Failed, sessions[0].Status())
	require.Equal(t, "refused", sessions[0].Reason())
	e.resumed(t, here) // what came with the refusal is new
	requireNoReuse(t, f.seen)
}

// What came after the refused ticket was sealed with the new key.
func TestARefusalDropsNothingNewer(t *testing.T) {
	s := newSite(t, setup{server: newKeys})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	e := bound(scope, s.client)
	old := e.connect(t, s.Addr).(*resume.Conn)
	require.NoError(t, talk(old))
	stale := old.Get1Session()
	defer stale.Release()
	young := e.connect(t, s.Addr) // takes it; another one for what follows
	require.NoError(t, talk(young))

	first, second := e.connect(t, s.Addr).(*resume.Conn), e.connect(t, s.Addr).(*resume.Conn)
	require.NoError(t, talk(first))
	before := first.Get1Session()
	defer before.Release()
	newKeys(s.server)
	require.NoError(t, talk(second))
	after := second.Get1Session()
	defer after.Release()

	d := &resume.Dialer{Scope: scope, Config: s.client, Session: before}
	conn, err := d.Dial("tcp", s.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.False(t, conn.ConnectionState().DidResume)
	require.Equal(t, resume.Used, before.Status())
	require.Equal(t, resume.Resumable, after.Status(), "received later, whatever it is worth")
	requireNoReuse(t, s.Identities)
}

func TestTicketsAreBoundedPerEndpoint(t *testing.T) {
	f := newFarm(t, 2, false)
	c := newCache(t, &resume.ClientCache{TicketsPerServer: 2})
	e := bound(c.NewScope(), f.client)
	for _, server := range f.servers {
		var conns []client
		for range 3 {
			conns = append(conns, e.connect(t, server.Addr))
		}
		for _, conn := range conns {
			require.NoError(t, talk(conn))
		}
	}
	require.Equal(t, 1, c.Stats().Servers, "they are one server")
	st := c.Stats()
	require.EqualValues(t, 2, st.Evicted, "the third of each endpoint")
	require.EqualValues(t, 1, st.Used, "one of the first endpoint was tried at the second")
	require.Equal(t, 3, st.Pooled)
	requireNoReuse(t, f.seen)
}

// A ticket of unknown endpoint may be tried anywhere, and proves nothing.
func TestATicketOfUnknownEndpointProvesNothing(t *testing.T) {
	f := newFarm(t, 2, false)
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	known, unknown := bound(scope, f.client), inScope["TLSConfig"](scope, f.client)
	here, there := f.servers[0].Addr, f.servers[1].Addr
	unknown.full(t, here)
	session := unknown.Get1Session(host)
	defer session.Release()
	require.Empty(t, session.Info().Endpoint)
	known.full(t, there)
	require.Equal(t, resume.Used, session.Status(), "it was worth a try")
	known.resumed(t, there)
	// Had it counted as a refusal elsewhere, this would not be tried.
	offered := f.seen.Counts().Offered
	known.full(t, here)
	require.Equal(t, offered+1, f.seen.Counts().Offered)
	requireNoReuse(t, f.seen)
}

// The endpoint is that of the raw connection, whatever its type.
func TestAConnectionWithoutAnAddressHasNoEndpoint(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	for n := range 3 {
		conn := scope.NewConn(nowhere{rawConn(t, s.Addr)}, s.client)
		require.NoError(t, talk(conn))
		require.Equal(t, n > 0, conn.ConnectionState().DidResume)
		require.Empty(t, conn.Get0Session().Info().Endpoint)
		require.NoError(t, conn.Close())
	}
}

type nowhere struct{ net.Conn }

func (nowhere) RemoteAddr() net.Addr { return nil }

// A TLS 1.2 session is offered again and again, also by who holds one that the
// cache has no room for: a refusal must end that.
func TestARefusedTLS12SessionIsNotOfferedAgain(t *testing.T) {
	first, second := newSite(t, setup{server: onlyTLS12}), newSite(t, setup{server: onlyTLS12})
	c := newCache(t, &resume.ClientCache{MaxServers: 1})
	scope := c.NewScope()
	here, there := dialed(scope, first.client), dialed(scope, second.client)
	session := here.received(t, first.Addr)
	there.full(t, second.Addr)
	require.Equal(t, "evicted", session.Reason())
	newKeys(first.server)

	conn, err := exactly(here, session).Dial("tcp", first.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.False(t, conn.ConnectionState().DidResume)
	require.Equal(t, resume.Failed, session.Status())
	require.Equal(t, "refused", session.Reason())
	_, err = exactly(here, session).Dial("tcp", first.Addr)
	require.ErrorIs(t, err, resume.ErrNotResumable)
	require.Equal(t, 1, first.Identities.Counts().Offered)
}
