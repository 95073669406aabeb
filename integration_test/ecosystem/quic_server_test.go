package ecosystem_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// An arrival is a connection as the server's application has it.
type arrival struct {
	resumed, early bool
	heard          string // before the handshake had ended: 0-RTT data
}

// A replayed server answers like quicServer, and while it is on watch notes
// what reaches it and hangs up. What it then reads comes from who never
// finishes a handshake, and so in 0-RTT.
type replayed struct {
	addr  *net.UDPAddr
	watch atomic.Bool

	mu       sync.Mutex // guards arrivals
	arrivals []arrival
}

func startReplayed(t testing.TB, config *tls.Config) *replayed {
	t.Helper()
	listener, err := quic.ListenAddrEarly("127.0.0.1:0", config, &quic.Config{Allow0RTT: true})
	require.NoError(t, err)
	s := &replayed{addr: listener.Addr().(*net.UDPAddr)}
	var running sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			if s.watch.Load() {
				running.Go(func() { s.note(conn) })
			} else {
				running.Go(func() { shout(conn) })
			}
		}
	})
	return s
}

func (s *replayed) note(conn *quic.Conn) {
	defer conn.CloseWithError(0, "")
	state := conn.ConnectionState()
	a := arrival{resumed: state.TLS.DidResume, early: state.Used0RTT}
	if a.early {
		a.heard = hear(conn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, a)
}

// hear reads what ask says, if it comes before the handshake has ended.
func hear(conn *quic.Conn) string {
	stream, err := conn.AcceptStream(conn.Context())
	if err != nil {
		return err.Error()
	}
	words := make([]byte, len("hello"))
	if _, err := io.ReadFull(stream, words); err != nil {
		return err.Error()
	}
	select {
	case <-conn.HandshakeComplete():
		return "after the handshake"
	default:
		return string(words)
	}
}

func (s *replayed) seen() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.arrivals)
}

// early is how many connections brought 0-RTT data.
func (s *replayed) early() (n int) {
	for _, a := range s.seen() {
		if a.early {
			n++
		}
	}
	return n
}

// prime brings a client's cache a ticket of the server's.
func (s *replayed) prime(t testing.TB, config *tls.Config) {
	t.Helper()
	conn, err := dialQUIC(bounded(t), s.addr.String(), config)
	require.NoError(t, err)
	defer conn.CloseWithError(0, "")
	_, err = ask(t.Context(), conn)
	require.NoError(t, err)
}

// replayer is a client's configuration that keeps its tickets, as a thief does.
func (s *site) replayer() *tls.Config {
	config := s.client.Clone()
	config.NextProtos = []string{"shout"}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return config
}

func plainQUIC(s *site) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{s.cert}, NextProtos: []string{"shout"}}
}

// earlyFleet is n servers' caches over one store.
func earlyFleet(t testing.TB, n int) (caches []*resume.ServerCache) {
	t.Helper()
	dir := t.TempDir()
	keys, err := ticket.NewKeyring([32]byte{1})
	require.NoError(t, err)
	for range n {
		store, err := dirstore.Open(dir, dirstore.Options{})
		require.NoError(t, err)
		caches = append(caches, &resume.ServerCache{Store: resume.Seal(store, keys), EarlyData: true})
	}
	return caches
}

// One server and its socket. quic-go itself gives packets of a replay to the
// connection that they began, as long as it remembers that: what this proves
// begins when it has forgotten. Until then nothing comes to the application.
func TestReplayed0RTTIsAcceptedOnceByOneServer(t *testing.T) {
	leakCheck(t)
	site := newSite("shout")
	for _, c := range []struct {
		name  string
		cache *resume.ServerCache // nil: crypto/tls's own tickets
		early int
	}{
		{"crypto/tls", nil, 3},
		{"memory", &resume.ServerCache{EarlyData: true}, 1},
		{"store", earlyFleet(t, 1)[0], 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := plainQUIC(site)
			if c.cache != nil {
				config = c.cache.TLSConfig(config)
			}
			server := startReplayed(t, config)
			client := site.replayer()
			server.prime(t, client)
			flight := record(t, client)
			server.watch.Store(true)
			for range 3 {
				flight.play(t, server)
			}
			seen := server.seen()
			if c.cache != nil && c.cache.Stats().StoreErrors > 0 {
				require.LessOrEqual(t, server.early(), 1)
				t.Skip("the store was too slow: each time it costs a resumption")
			}
			require.Equal(t, arrival{true, true, "hello"}, seen[0])
			require.Equal(t, c.early, server.early(), "%v", seen)
			if c.cache != nil {
				require.EqualValues(t, 1, c.cache.Stats().Used)
				require.EqualValues(t, 2, c.cache.Stats().Missed)
				require.Equal(t, arrival{}, seen[2], "a full handshake")
			}
		})
	}
}

// Two servers are played one first flight at the same time, again and again.
func TestReplayed0RTTIsAcceptedOnceByTwoServersThatShareAStore(t *testing.T) {
	const rounds = 20
	leakCheck(t)
	site := newSite("shout")
	fleet := earlyFleet(t, 2)
	a, b := startReplayed(t, fleet[0].TLSConfig(plainQUIC(site))), startReplayed(t, fleet[1].TLSConfig(plainQUIC(site)))
	accepted := 0
	for round := range rounds {
		client := site.replayer()
		a.watch.Store(false)
		a.prime(t, client)
		flight := record(t, client)
		a.watch.Store(true)
		b.watch.Store(true)
		var both sync.WaitGroup
		both.Go(func() { flight.play(t, a) })
		both.Go(func() { flight.play(t, b) })
		both.Wait()
		now := a.early() + b.early()
		require.LessOrEqual(t, now-accepted, 1, "in round %d", round)
		accepted = now
	}
	slow := fleet[0].Stats().StoreErrors + fleet[1].Stats().StoreErrors
	t.Logf("%d of %d accepted, %d by one and %d by the other; %d slow calls of the store",
		accepted, rounds, a.early(), b.early(), slow)
	require.EqualValues(t, accepted, fleet[0].Stats().Used+fleet[1].Stats().Used)
	if slow == 0 {
		require.Equal(t, rounds, accepted)
	}
	for _, s := range []*replayed{a, b} {
		for _, one := range s.seen() {
			require.Equal(t, one.early, one.heard == "hello", "%v", one)
		}
	}
}

// The same with crypto/tls's own tickets, made with keys that both have: what
// the test above would see if nothing were taken.
func TestReplayed0RTTIsAcceptedByEachServerThatSharesTicketKeys(t *testing.T) {
	leakCheck(t)
	site := newSite("shout")
	config := plainQUIC(site)
	config.SetSessionTicketKeys([][32]byte{{7}})
	a, b := startReplayed(t, config), startReplayed(t, config)
	client := site.replayer()
	a.prime(t, client)
	flight := record(t, client)
	for _, s := range []*replayed{a, b} {
		s.watch.Store(true)
		flight.play(t, s)
		require.Equal(t, []arrival{{true, true, "hello"}}, s.seen())
	}
}

// Neither with a ticket of its own, which crypto/tls says is good for 0-RTT
// when quic-go does, nor with one of another server of the fleet that is. Both
// resume, without the early data.
func TestServersWithoutEarlyDataNeverAccept0RTT(t *testing.T) {
	leakCheck(t)
	site := newSite("shout")
	fleet := earlyFleet(t, 2)
	fleet[1].EarlyData = false
	alone := new(resume.ServerCache)
	for _, c := range []struct {
		name  string
		sends *resume.ServerCache
		takes *resume.ServerCache
	}{
		{"its own, memory", alone, alone},
		{"its own, store", fleet[1], fleet[1]},
		{"another server's", fleet[0], fleet[1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			sends := startReplayed(t, c.sends.TLSConfig(plainQUIC(site)))
			takes := startReplayed(t, c.takes.TLSConfig(plainQUIC(site)))
			client := site.replayer()
			sends.prime(t, client)
			flight := record(t, client)
			takes.watch.Store(true)
			flight.play(t, takes)
			require.Zero(t, takes.early())
			if c.sends.Stats().StoreErrors+c.takes.Stats().StoreErrors == 0 {
				require.Equal(t, []arrival{{resumed: true}}, takes.seen())
			}
		})
	}
}
