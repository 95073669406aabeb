//go:build unix

package ecosystem_test

import (
	"os/exec"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// newRedis starts a redis-server, reached through a proxy that counts.
func newRedis(t testing.TB) (s *site, addr string) {
	t.Helper()
	program := lookPeer(t, "redis-server", "redis-server")
	s = newSite()
	cert, key := s.files(t)
	addr, port := freeAddr(t)
	startPeer(t, exec.Command(program,
		"--port", "0", "--tls-port", port, "--bind", "127.0.0.1",
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
		"--tls-auth-clients", "no", "--tls-session-caching", "yes",
		"--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	), addr)
	return s, s.proxyTo(t, addr).Addr
}

// redisRecipes are the two ways to write it.
var redisRecipes = map[string]func(*resume.ClientCache, *site, string) *redis.Options{
	"TLSConfig": func(c *resume.ClientCache, s *site, addr string) *redis.Options {
		return redisOptions(c, addr, s.client)
	},
	"Dialer": func(c *resume.ClientCache, s *site, addr string) *redis.Options {
		return redisBoundOptions(&resume.Dialer{Scope: c.NewScope(), Config: s.client}, addr)
	},
}

// Each round is a program's pool that is opened, used by a crowd and closed.
// There are no more full handshakes than the first crowd had connections.
func TestRedisPoolsUseEveryTicketOnce(t *testing.T) {
	const crowd, rounds = 8, 5
	for name, recipe := range redisRecipes {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			site, addr := newRedis(t)
			cache := newCache(t)
			options := recipe(cache, site, addr)
			options.PoolSize = crowd
			// Otherwise connections made at once race for this mode, in go-redis
			// itself (v9.23.0).
			options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
			for range rounds {
				usePool(t, redis.NewClient(options), crowd)
			}
			counts := requireNoReuse(t, site.seen)
			stats := cache.Stats()
			assert.GreaterOrEqual(t, counts.Connections, crowd*rounds)
			assert.GreaterOrEqual(t, counts.Offered, counts.Connections-crowd)
			assert.EqualValues(t, counts.Offered, stats.Resumed)
			assert.EqualValues(t, counts.Connections, stats.Full+stats.Resumed)
		})
	}
}

// usePool makes a crowd that keeps its connections until all have one.
func usePool(t testing.TB, client *redis.Client, crowd int) {
	t.Helper()
	ctx := bounded(t)
	conns := make(chan *redis.Conn, crowd)
	together(t, crowd, func() error {
		conn := client.Conn()
		conns <- conn
		return conn.Ping(ctx).Err()
	})
	close(conns)
	for conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.NoError(t, client.Close())
}
