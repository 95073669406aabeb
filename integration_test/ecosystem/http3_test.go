package ecosystem_test

import (
	"crypto/tls"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

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
