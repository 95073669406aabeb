//go:build unix

package ecosystem_test

import (
	"context"
	"crypto/tls"
	"os/exec"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// fleetCrowd is how many clients come at a time. A store that makes them wait
// for longer than 50 ms costs resumptions, and these tests a part of what they
// look at.
const fleetCrowd = 4

// redisFleet returns what makes a server's cache over one Redis, each time
// with a client of its own, as another machine would have.
func redisFleet(t testing.TB) func() *resume.ServerCache {
	t.Helper()
	addr, port := freeAddr(t)
	startPeer(t, exec.Command(lookPeer(t, "redis-server", "redis-server"),
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	), addr)
	keys, err := ticket.NewKeyring([32]byte{3})
	require.NoError(t, err)
	return func() *resume.ServerCache {
		client := redis.NewClient(&redis.Options{
			Addr:                     addr,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		t.Cleanup(func() { client.Close() })
		store, err := redisstore.New(client, redisstore.Options{})
		require.NoError(t, err)
		// Its connections and scripts are there before a handshake waits for them.
		together(t, fleetCrowd, func() error { return client.Ping(t.Context()).Err() })
		require.NoError(t, store.Put(t.Context(), "", cache.Entry{ID: "warm"}))
		_, err = store.Take(t.Context(), "", 1)
		require.NoError(t, err)
		return &resume.ServerCache{Store: resume.Seal(store, keys), EarlyData: true}
	}
}

// A stack is a kind of server, and how to visit it.
type stack struct {
	start func(testing.TB, *site, *resume.ServerCache) (addr string)
	visit visitor
}

var stacks = map[string]stack{
	"quic-go": {
		start: func(t testing.TB, s *site, half *resume.ServerCache) string {
			return startReplayed(t, tlstest.Counting(half.TLSConfig(plainQUIC(s)), s.seen)).addr.String()
		},
		visit: func(ctx context.Context, addr string, config *tls.Config) (resumed, early bool, err error) {
			config = config.Clone()
			config.NextProtos = []string{"shout"}
			conn, err := dialQUIC(ctx, addr, config)
			if err != nil {
				return false, false, err
			}
			defer conn.CloseWithError(0, "")
			if conn, err = conn.NextConnection(ctx); err != nil {
				return false, false, err
			}
			_, err = ask(ctx, conn)
			state := conn.ConnectionState()
			return state.TLS.DidResume, state.Used0RTT, err
		},
	},
	"http3.Server": {
		start: func(t testing.TB, s *site, half *resume.ServerCache) string {
			return startHTTP3(t, s.http3Server(half))
		},
		visit: dialHTTP3,
	},
}

// A client goes from one server to the other, one of which starts anew. Every
// connection but its first is resumed, in 0-RTT, by whichever it comes to.
func TestQUICServersThatShareRedisResumeEachOthersTickets(t *testing.T) {
	const visits = 6
	leakCheck(t)
	for name, stack := range stacks {
		for kind := range newSite().quicClients(t) {
			t.Run(name+", "+kind, func(t *testing.T) {
				site, join := newSite(), redisFleet(t)
				client := site.quicClients(t)[kind]
				caches := []*resume.ServerCache{join(), join()}
				addrs := []string{stack.start(t, site, caches[0]), stack.start(t, site, caches[1])}
				for visit := range visits {
					if visit == visits/2 {
						caches = append(caches, join())
						addrs[0] = stack.start(t, site, caches[2])
					}
					resumed, early, err := stack.visit(t.Context(), addrs[visit%2], client)
					require.NoError(t, err)
					tooSlow(t, caches...)
					require.Equal(t, visit > 0, resumed, "in visit %d", visit)
					require.Equal(t, visit > 0, early, "in visit %d", visit)
				}
				counts := requireNoReuse(t, site.seen)
				require.Equal(t, tlstest.Counts{Connections: visits, Offered: visits - 1}, counts)
				all := sum(caches)
				require.EqualValues(t, 1, all.Full)
				require.EqualValues(t, visits-1, all.Resumed)
				require.EqualValues(t, visits, all.Captured)
				require.Zero(t, all.Missed+all.Refused)
			})
		}
	}
}

// sum adds up what the servers of a fleet have counted.
func sum(caches []*resume.ServerCache) (all resume.Stats) {
	for _, one := range caches {
		stats := one.Stats()
		all.Full += stats.Full
		all.Resumed += stats.Resumed
		all.Captured += stats.Captured
		all.Missed += stats.Missed
		all.Refused += stats.Refused
	}
	return all
}

func TestParallelQUICConnectionsToServersThatShareRedisUseEveryTicketOnce(t *testing.T) {
	const crowd, rounds = fleetCrowd, 6
	leakCheck(t)
	for name, stack := range stacks {
		t.Run(name, func(t *testing.T) {
			site, join := newSite(), redisFleet(t)
			client := newCache(t)
			config := newQUICConfig(client, site.client)
			caches := []*resume.ServerCache{join(), join()}
			addrs := []string{stack.start(t, site, caches[0]), stack.start(t, site, caches[1])}
			for range rounds {
				for _, addr := range addrs {
					together(t, crowd, func() error {
						_, _, err := stack.visit(t.Context(), addr, config)
						return err
					})
				}
			}
			counts := requireNoReuse(t, site.seen)
			require.Equal(t, 2*crowd*rounds, counts.Connections)
			all, theirs := sum(caches), client.Stats()
			assert.Equal(t, theirs.Full, all.Full, "both sides count alike")
			assert.Equal(t, theirs.Resumed, all.Resumed)
			tooSlow(t, caches...)
			assert.EqualValues(t, counts.Offered, all.Resumed)
			assert.GreaterOrEqual(t, counts.Offered, crowd*(2*rounds-1))
		})
	}
}

// The law of the house where it is hardest to keep: many present one ticket at
// once, to servers that know of each other through Redis alone.
func TestOfManyQUICClientsWithOneTicketOneIsResumedByAFleet(t *testing.T) {
	const crowd, rounds = fleetCrowd, 8
	leakCheck(t)
	for name, stack := range stacks {
		t.Run(name, func(t *testing.T) {
			site, join := newSite(), redisFleet(t)
			caches := []*resume.ServerCache{join(), join()}
			addrs := []string{stack.start(t, site, caches[0]), stack.start(t, site, caches[1])}
			for round := range rounds {
				require.LessOrEqual(t, site.sing(t, stack.visit, crowd, addrs...), 1, "in round %d", round)
			}
			require.Equal(t, rounds*(crowd-1), site.seen.Counts().Reused, "the test is none without it")
			tooSlow(t, caches...)
			require.EqualValues(t, rounds, sum(caches).Resumed)
			require.EqualValues(t, rounds*(crowd-1), sum(caches).Missed)
		})
	}
}
