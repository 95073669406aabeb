package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// startHTTP3 starts a server. It wraps the sessions of its configuration once
// more, to keep its settings in them.
func startHTTP3(t testing.TB, server *http3.Server) (addr string) {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { server.Serve(socket) })
	t.Cleanup(func() {
		server.Close()
		running.Wait()
		socket.Close()
	})
	return socket.LocalAddr().String()
}

// http3Server answers with what it knows of the connection, and counts on the
// outside of the server's half what it is offered.
func (s *site) http3Server(cache *resume.ServerCache) *http3.Server {
	base := &tls.Config{Certificates: []tls.Certificate{s.cert}}
	server := newHTTP3Server(cache, base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s resumed: %t", r.Proto, r.TLS.DidResume)
	}))
	server.TLSConfig = tlstest.Counting(server.TLSConfig, s.seen)
	return server
}

// getHTTP3 makes a request over a connection of an http3.Transport. The
// server's ticket comes with the end of the handshake, and so before the
// answer. What is dialled early instead opens a stream before that end, where
// quic-go has a data race (its issue 4303); dialHTTP3 does without.
func getHTTP3(ctx context.Context, addr string, config *tls.Config) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var conn *quic.Conn
	transport := &http3.Transport{
		TLSClientConfig: config,
		Dial: func(ctx context.Context, addr string, tlsConfig *tls.Config, config *quic.Config) (_ *quic.Conn, err error) {
			conn, err = quic.DialAddr(ctx, addr, tlsConfig, config)
			return conn, err
		},
	}
	defer transport.Close()
	answer, err := askHTTP3(ctx, transport, addr)
	if err != nil {
		return false, err
	}
	return conn.ConnectionState().TLS.DidResume, agree(conn, answer)
}

// agree is an error if client and server have not seen the same.
func agree(conn *quic.Conn, answer string) error {
	if want := fmt.Sprintf("HTTP/3.0 resumed: %t", conn.ConnectionState().TLS.DidResume); answer != want {
		return fmt.Errorf("the server says %q, not %q", answer, want)
	}
	return nil
}

func askHTTP3(ctx context.Context, over http.RoundTripper, addr string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr, nil)
	if err != nil {
		return "", err
	}
	response, err := over.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return string(answer), err
}

// quicHalves are servers' caches of each kind.
func quicHalves(t testing.TB) map[string]*resume.ServerCache {
	keys, err := ticket.NewKeyring([32]byte{2})
	require.NoError(t, err)
	return map[string]*resume.ServerCache{
		"memory":    new(resume.ServerCache),
		"stateless": {Keyring: keys},
		"store":     earlyFleet(t, 1)[0],
	}
}

// quicClients are clients with this layer and without it.
func (s *site) quicClients(t testing.TB) map[string]*tls.Config {
	plain := s.client.Clone()
	plain.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return map[string]*tls.Config{"this layer": newQUICConfig(newCache(t), s.client), "the standard cache": plain}
}

// tooSlow ends a test whose store was: each time it costs a resumption.
func tooSlow(t testing.TB, caches ...*resume.ServerCache) {
	t.Helper()
	for _, cache := range caches {
		if n := cache.Stats().StoreErrors; n > 0 {
			t.Skipf("%d calls of the store were too slow", n)
		}
	}
}

func TestHTTP3ServersWithTheServersHalfResumeEveryTicketOnce(t *testing.T) {
	const visits = 5
	leakCheck(t)
	for kind := range quicHalves(t) {
		for name := range newSite().quicClients(t) {
			t.Run(kind+", "+name, func(t *testing.T) {
				site := newSite()
				cache, client := quicHalves(t)[kind], site.quicClients(t)[name]
				chain := chainOf(cache)
				addr := startHTTP3(t, site.http3Server(cache))
				for visit := range visits {
					resumed, err := getHTTP3(t.Context(), addr, client)
					require.NoError(t, err)
					if cache.Stats().StoreErrors == 0 {
						require.Equal(t, visit > 0, resumed, "in visit %d", visit)
					}
				}
				counts := requireNoReuse(t, site.seen)
				tooSlow(t, cache)
				assert.Equal(t, tlstest.Counts{Connections: visits, Offered: visits - 1}, counts)
				stats := cache.Stats()
				assert.EqualValues(t, 1, stats.Full)
				assert.EqualValues(t, visits-1, stats.Resumed)
				assert.EqualValues(t, visits, stats.Captured)
				assert.Zero(t, stats.Missed+stats.Refused)
				assert.Equal(t, []int{0, 1, 2, 3, 4}, chain(), "the resumptions since the full handshake")
			})
		}
	}
}

// The client's half needs nothing of a server but tickets.
func TestHTTP3ServersWithTicketsOfTheirOwnMeetEachOnce(t *testing.T) {
	const crowd, rounds = 8, 4
	leakCheck(t)
	site := newSite(http3.NextProtoH3)
	server := site.http3Server(new(resume.ServerCache))
	server.TLSConfig = site.server
	addr := startHTTP3(t, server)
	cache := newCache(t)
	config := newQUICConfig(cache, site.client)
	for range rounds {
		together(t, crowd, func() error {
			_, err := getHTTP3(t.Context(), addr, config)
			return err
		})
	}
	counts := requireNoReuse(t, site.seen)
	assert.Equal(t, crowd*rounds, counts.Connections)
	assert.GreaterOrEqual(t, counts.Offered, crowd*(rounds-1))
	assert.EqualValues(t, counts.Offered, cache.Stats().Resumed)
}

// chainOf notes of each session that a cache sends how many resumptions there
// were before it.
func chainOf(cache *resume.ServerCache) func() []int {
	var mu sync.Mutex
	var chain []int
	cache.NewSession = func(s *resume.Session) {
		mu.Lock()
		defer mu.Unlock()
		chain = append(chain, s.Info().Resumptions)
	}
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return chain
	}
}

func TestParallelHTTP3ConnectionsUseEveryTicketOnce(t *testing.T) {
	const crowd, rounds = 8, 4
	leakCheck(t)
	for kind, cache := range quicHalves(t) {
		t.Run(kind, func(t *testing.T) {
			site := newSite()
			client := newCache(t)
			config := newQUICConfig(client, site.client)
			addr := startHTTP3(t, site.http3Server(cache))
			for range rounds {
				together(t, crowd, func() error {
					_, err := getHTTP3(t.Context(), addr, config)
					return err
				})
			}
			counts := requireNoReuse(t, site.seen)
			tooSlow(t, cache)
			assert.Equal(t, crowd*rounds, counts.Connections)
			assert.GreaterOrEqual(t, counts.Offered, crowd*(rounds-1))
			stats, theirs := cache.Stats(), client.Stats()
			assert.EqualValues(t, counts.Offered, stats.Resumed)
			assert.Equal(t, theirs.Resumed, stats.Resumed, "both sides count alike")
			assert.Equal(t, theirs.Full, stats.Full)
			assert.Equal(t, theirs.Captured, stats.Captured)
		})
	}
}

// What http3.Server writes into a session comes back from memory and from a
// store, or it would refuse 0-RTT.
func TestHTTP3ServersAccept0RTTWhereTheServersHalfDoes(t *testing.T) {
	const visits = 4
	leakCheck(t)
	for name, c := range map[string]struct {
		cache *resume.ServerCache
		early bool
	}{
		"memory":                     {&resume.ServerCache{EarlyData: true}, true},
		"store":                      {earlyFleet(t, 1)[0], true},
		"memory, without early data": {new(resume.ServerCache), false},
		"stateless":                  {quicHalves(t)["stateless"], false},
	} {
		t.Run(name, func(t *testing.T) {
			site := newSite()
			client := newQUICConfig(newCache(t), site.client)
			addr := startHTTP3(t, site.http3Server(c.cache))
			for visit := range visits {
				resumed, early, err := dialHTTP3(t.Context(), addr, client)
				require.NoError(t, err)
				if c.cache.Stats().StoreErrors == 0 {
					require.Equal(t, visit > 0, resumed, "in visit %d", visit)
					require.Equal(t, visit > 0 && c.early, early, "in visit %d", visit)
				}
			}
			requireNoReuse(t, site.seen)
		})
	}
}

// http3.Server refuses 0-RTT to sessions made under settings that it no longer
// has. They are resumed all the same.
func TestHTTP3ServersOfAFleetAgreeOnSettingsBefore0RTT(t *testing.T) {
	leakCheck(t)
	site := newSite()
	fleet := earlyFleet(t, 2)
	before := site.http3Server(fleet[0])
	before.EnableDatagrams = true
	was, is := startHTTP3(t, before), startHTTP3(t, site.http3Server(fleet[1]))
	client := newQUICConfig(newCache(t), site.client)
	for i, visit := range []struct {
		addr           string
		resumed, early bool
	}{{was, false, false}, {was, true, true}, {is, true, false}, {is, true, true}} {
		resumed, early, err := dialHTTP3(t.Context(), visit.addr, client)
		require.NoError(t, err)
		if fleet[0].Stats().StoreErrors+fleet[1].Stats().StoreErrors == 0 {
			require.Equal(t, []bool{visit.resumed, visit.early}, []bool{resumed, early}, "in visit %d", i)
		}
	}
	requireNoReuse(t, site.seen)
}

// quic.Config has to say what the server's half says: if its switch is left on,
// as it is in http3.Server without a QUICConfig, every resumed connection of an
// early dial tries 0-RTT in vain. quic-go then fails what it is used for until
// NextConnection is called, which http3.Transport does not.
func TestQUICConnectionsWhose0RTTIsRefusedAreOfNoUseAtFirst(t *testing.T) {
	leakCheck(t)
	site := newSite()
	cache := new(resume.ServerCache)
	server := site.http3Server(cache)
	server.QUICConfig = nil
	addr := startHTTP3(t, server)
	client := newQUICConfig(newCache(t), site.client)
	client.NextProtos = []string{http3.NextProtoH3}
	_, _, err := dialHTTP3(t.Context(), addr, client)
	require.NoError(t, err)
	for range 3 {
		conn, err := dialQUIC(bounded(t), addr, client)
		require.NoError(t, err)
		<-conn.HandshakeComplete()
		_, err = conn.OpenStreamSync(bounded(t))
		require.ErrorIs(t, err, quic.Err0RTTRejected)
		resumed, early, err := goOn(bounded(t), conn)
		require.NoError(t, err)
		require.Equal(t, []bool{true, false}, []bool{resumed, early})
	}
	require.EqualValues(t, 3, cache.Stats().Resumed)
	requireNoReuse(t, site.seen)
}

// A visitor makes a connection, and closes it when it has its ticket.
type visitor func(ctx context.Context, addr string, config *tls.Config) (resumed, used0RTT bool, err error)

// dialHTTP3 makes a request over a connection that offers 0-RTT, which may be
// refused.
func dialHTTP3(ctx context.Context, addr string, config *tls.Config) (resumed, used0RTT bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	config = config.Clone()
	config.NextProtos = []string{http3.NextProtoH3}
	conn, err := dialQUIC(ctx, addr, config)
	if err != nil {
		return false, false, err
	}
	return goOn(ctx, conn)
}

func goOn(ctx context.Context, conn *quic.Conn) (resumed, used0RTT bool, err error) {
	defer conn.CloseWithError(0, "")
	conn, err = conn.NextConnection(ctx)
	if err != nil {
		return false, false, err
	}
	transport := new(http3.Transport)
	defer transport.Close()
	answer, err := askHTTP3(ctx, transport.NewClientConn(conn), conn.RemoteAddr().String())
	if err != nil {
		return false, false, err
	}
	state := conn.ConnectionState()
	return state.TLS.DidResume, state.Used0RTT, agree(conn, answer)
}

// The server's GetConfigForClient is asked on the way, as over TCP.
func TestHTTP3ConfigurationsOfClientsAreTreatedAsTheirBase(t *testing.T) {
	leakCheck(t)
	site := newSite()
	cache := new(resume.ServerCache)
	theirs := &tls.Config{Certificates: []tls.Certificate{site.cert}}
	server := site.http3Server(cache)
	server.TLSConfig = cache.TLSConfig(&tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return theirs, nil },
	})
	addr := startHTTP3(t, server)
	client := newQUICConfig(newCache(t), site.client)
	for visit := range 3 {
		resumed, err := getHTTP3(t.Context(), addr, client)
		require.NoError(t, err)
		require.Equal(t, visit > 0, resumed, "in visit %d", visit)
	}
	require.EqualValues(t, 2, cache.Stats().Resumed)
}

func TestARevokedSessionIsNotResumedOverHTTP3(t *testing.T) {
	leakCheck(t)
	site := newSite()
	sent := make(chan *resume.Session, 3)
	cache := &resume.ServerCache{NewSession: func(s *resume.Session) { sent <- s.Retain() }}
	addr := startHTTP3(t, site.http3Server(cache))
	client := newQUICConfig(newCache(t), site.client)
	for visit, want := range []bool{false, true, false} {
		resumed, err := getHTTP3(t.Context(), addr, client)
		require.NoError(t, err)
		require.Equal(t, want, resumed, "in visit %d", visit)
		session := <-sent
		require.Empty(t, session.Info().Endpoint, "nobody knows the connection")
		require.Equal(t, http3.NextProtoH3, session.Info().ALPN)
		if visit == 1 {
			require.True(t, cache.Remove(session))
		}
		session.Release()
	}
	require.EqualValues(t, 1, cache.Stats().Missed)
	requireNoReuse(t, site.seen)
}

// A chorus is a ClientSessionCache that gives every connection a copy of one
// session, again and again. A copy, since quic-go writes to what it is given.
type chorus struct {
	ticket []byte
	state  []byte
}

// primed takes the session out of a cache that has one for the site.
func primed(t testing.TB, config *tls.Config) *chorus {
	t.Helper()
	cs, ok := config.ClientSessionCache.Get(config.ServerName)
	require.True(t, ok)
	ticket, state, err := cs.ResumptionState()
	require.NoError(t, err)
	bytes, err := state.Bytes()
	require.NoError(t, err)
	return &chorus{ticket, bytes}
}

func (c *chorus) Get(string) (*tls.ClientSessionState, bool) {
	state := tlstest.Must(tls.ParseSessionState(c.state))
	return tlstest.Must(tls.NewResumptionState(c.ticket, state)), true
}

func (c *chorus) Put(string, *tls.ClientSessionState) {}

// sing has a crowd present one ticket at once, to one server and the other, and
// returns how many were resumed.
func (s *site) sing(t testing.TB, visit visitor, crowd int, addrs ...string) (resumed int) {
	t.Helper()
	config := s.client.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	_, _, err := visit(t.Context(), addrs[0], config)
	require.NoError(t, err)
	config.ClientSessionCache = primed(t, config)
	var mu sync.Mutex
	next := 0
	together(t, crowd, func() error {
		mu.Lock()
		addr := addrs[next%len(addrs)]
		next++
		mu.Unlock()
		did, _, err := visit(t.Context(), addr, config)
		mu.Lock()
		defer mu.Unlock()
		if did {
			resumed++
		}
		return err
	})
	return resumed
}

func TestOfManyHTTP3ClientsWithOneTicketOneIsResumed(t *testing.T) {
	const crowd, rounds = 6, 4
	leakCheck(t)
	for kind, cache := range quicHalves(t) {
		t.Run(kind, func(t *testing.T) {
			site := newSite()
			addr := startHTTP3(t, site.http3Server(cache))
			for round := range rounds {
				resumed := site.sing(t, dialHTTP3, crowd, addr)
				if kind == "stateless" { // which is what its documentation says
					require.Equal(t, crowd, resumed)
					continue
				}
				require.LessOrEqual(t, resumed, 1, "in round %d", round)
			}
			require.Equal(t, rounds*crowd, site.seen.Counts().Offered)
			require.Equal(t, rounds*(crowd-1), site.seen.Counts().Reused, "the test is none without it")
			tooSlow(t, cache)
			if kind != "stateless" {
				require.EqualValues(t, rounds, cache.Stats().Resumed)
				require.EqualValues(t, rounds*(crowd-1), cache.Stats().Missed)
			}
		})
	}
}
