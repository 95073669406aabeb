package redisstore_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// startSentinel starts a sentinel that alone decides on failovers.
func startSentinel(t testing.TB, primary *server) (addr string) {
	t.Helper()
	needServer(t)
	dir := t.TempDir()
	port, err := freePort()
	require.NoError(t, err)
	conf := filepath.Join(dir, "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `port %s
bind 127.0.0.1
dir %s
sentinel monitor tickets 127.0.0.1 %d 1
sentinel down-after-milliseconds tickets 1500
sentinel failover-timeout tickets 3000
`, port, dir, primary.port()), 0o600))
	s := &server{addr: net.JoinHostPort("127.0.0.1", port), dir: dir, args: []string{conf, "--sentinel"}}
	t.Cleanup(s.kill)
	require.NoError(t, s.run())
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: s.addr})
	defer sentinel.Close()
	await(t, "the sentinel's replica", func() bool {
		replicas, err := sentinel.Replicas(background, "tickets").Result()
		return err == nil && len(replicas) == 1 && replicas[0]["flags"] == "slave" && replicas[0]["runid"] != ""
	})
	return s.addr
}

// The primary is killed while workers take, and the replica, which a sentinel
// promotes, has not heard of their last takes.
func TestFailoverInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	for name, arm := range map[string]struct {
		opts  redisstore.Options
		wrong bool
	}{
		"by default":                {byDefault, false},
		"on the word of the caller": {onTheirWord, true}, // the word was wrong: the scene can tell
	} {
		t.Run(name, func(t *testing.T) {
			p := startPair(t)
			sentinel := startSentinel(t, p.primary)
			client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "tickets", SentinelAddrs: []string{sentinel}})
			defer client.Close()
			f := newFarm(newStore(t, client, arm.opts))
			f.put(400)
			f.work(4, 25).Wait()
			p.sync(t)
			p.link.hold()
			f.work(4, 25).Wait() // removals that the replica never hears of
			busy := f.work(4, 100)
			p.primary.kill()
			busy.Wait() // which needs the promoted replica
			require.Equal(t, "master", p.replica.role(t))
			f.mu.Lock()
			t.Logf("%d entries were had, %d calls failed", len(f.had), f.failed)
			f.mu.Unlock()
			t.Logf("%d entries were had twice", f.twice())
			require.Equal(t, arm.wrong, f.twice() > 0)
		})
	}
}

// With Replicas the entries outlive the failover, and none comes twice.
func TestFailoverWithReplicasKeepsEntries(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	f := newFarm(newStore(t, p.primary.client(t), withReplicas))
	f.put(400)
	f.work(4, 25).Wait()
	p.sync(t)
	p.link.hold()
	f.store = newStore(t, p.primary.client(t), impatient)
	f.takeOnce(8) // none is handed out
	p.primary.kill()
	p.replica.promote(t)

	p.replica.startReplica(t)
	before := f.next
	f.store = newStore(t, p.replica.client(t), withReplicas)
	f.work(4, 40).Wait()
	require.Equal(t, before, f.next, "the promoted replica had run empty")
	require.Zero(t, f.twice())
}

// takeOnce asks once under each of the first keys.
func (f *farm) takeOnce(keys int) {
	for i := range keys {
		f.note(f.store.Take(background, f.key(i), 1))
	}
}

// A node of a cluster is killed while workers take, and its replica takes over
// by itself; then the two change places as an operator has them do.
func TestFailoverOfANodeInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	first := c.nodes[0]
	replica := c.addReplica(t, first)
	f := newFarm(newStore(t, c.client(t), byDefault))
	f.keys = 24
	f.put(400)
	f.work(4, 25).Wait()
	busy := f.work(4, 50)
	first.kill()
	busy.Wait()
	require.Zero(t, f.twice())
	await(t, "the replica's promotion", func() bool { return replica.role(t) == "master" })
	require.NoError(t, first.run())
	first.awaitSync(t) // as a replica of the other
	other := replica.client(t)
	await(t, "the other's notice of it", func() bool {
		nodes := other.ClusterNodes(background).Val()
		return regexp.MustCompile(`(?m)^` + first.nodeID(t) + ` \S+ slave `).MatchString(nodes)
	})
	busy = f.work(4, 50)
	require.NoError(t, first.client(t).ClusterFailover(background).Err())
	busy.Wait()
	await(t, "the return", func() bool { return first.role(t) == "master" })
	f.work(4, 50).Wait()
	require.Zero(t, f.twice())
	require.NotEmpty(t, f.had)
}
