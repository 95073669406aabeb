package redisstore_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// Options of a store, by what they are to show.
var (
	byDefault    = redisstore.Options{}
	onTheirWord  = redisstore.Options{Survive: true}
	withReplicas = redisstore.Options{Survive: true, Replicas: 1, ReplicaTimeout: patience / 10}
	impatient    = redisstore.Options{Survive: true, Replicas: 1} // for replicas that will not answer
)

// A server that dies with its last snapshot has forgotten what was taken since.
func TestRestartFromAnOldFileBringsNothingBack(t *testing.T) {
	for name, arm := range map[string]struct {
		opts redisstore.Options
		want []string
	}{
		"by default":                {byDefault, nil},
		"on the word of the caller": {onTheirWord, []string{"b", "a"}}, // the word was wrong
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t)
			client := server.client(t)
			s := newStore(t, client, arm.opts)
			put(t, s, "k", "a", "b")
			require.NoError(t, client.Save(background).Err())
			require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
			server.restart(t)
			require.NotEmpty(t, names(t, client))
			require.Equal(t, arm.want, drain(t, s, "k"))
			require.Empty(t, names(t, client))
			put(t, s, "k", "c")
			require.Equal(t, []string{"c"}, drain(t, s, "k"))
		})
	}
}

// A store whose server forgets nothing may keep its entries over a restart.
func TestSurvivingEntriesOutliveARestart(t *testing.T) {
	server := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	s := newStore(t, server.client(t), onTheirWord)
	put(t, s, "k", "a", "b", "c")
	_, err := s.Take(background, "k", 1)
	require.NoError(t, err)
	server.restart(t)
	require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
}

// A pair is a primary and a replica, and the network between them.
type pair struct {
	primary, replica *server
	link             *proxy
}

func startPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{primary: startServer(t)}
	p.link = startProxy(t, p.primary.addr)
	host, port, err := net.SplitHostPort(p.link.addr)
	require.NoError(t, err)
	p.replica = startServer(t, "--replicaof", host+" "+port)
	p.replica.awaitSync(t)
	return p
}

// sync waits until the replica has what the primary has.
func (p *pair) sync(t testing.TB) {
	t.Helper()
	require.EqualValues(t, 1, p.primary.client(t).Wait(background, 1, patience).Val())
}

// A removal that the replica never hears of is undone when it is promoted.
func TestLostRemovalBringsNothingBack(t *testing.T) {
	for name, arm := range map[string]struct {
		opts     redisstore.Options
		old, new []string // taken from the primary, and then from the replica
	}{
		"by default":                {byDefault, []string{"b", "a"}, nil},
		"on the word of the caller": {onTheirWord, []string{"b", "a"}, []string{"b", "a"}}, // the word was wrong
		"with a replica":            {impatient, nil, []string{"b", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPair(t)
			s := newStore(t, p.primary.client(t), arm.opts)
			put(t, s, "k", "a", "b")
			p.sync(t)
			p.link.hold()
			require.Equal(t, arm.old, takeAll(s, "k"))
			p.primary.kill()
			p.replica.promote(t)
			promoted := arm.opts
			promoted.Replicas = 0 // none is left
			s = newStore(t, p.replica.client(t), promoted)
			require.Equal(t, arm.new, drain(t, s, "k"))
			put(t, s, "k", "c")
			require.Equal(t, []string{"c"}, drain(t, s, "k"))
		})
	}
}

// A server that was a primary, a replica and is a primary again has no new
// process, but a new life: what it got back from its replica is not its own.
func TestReturnToTheFirstPrimaryBringsNothingBack(t *testing.T) {
	p := startPair(t)
	primary := p.primary.client(t)
	s := newStore(t, primary, byDefault)
	put(t, s, "k", "a", "b")
	p.sync(t)
	p.link.hold()
	require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
	p.replica.promote(t)
	require.NoError(t, primary.ReplicaOf(background, "127.0.0.1", fmt.Sprint(p.replica.port())).Err())
	p.primary.awaitSync(t)
	require.Len(t, names(t, primary), 2) // they are back
	p.primary.promote(t)
	require.Empty(t, drain(t, s, "k"))
}

// Two servers that both take themselves for the primary hand out nothing twice:
// an entry has its life in one of them.
func TestTwoPrimariesShareNothing(t *testing.T) {
	p := startPair(t)
	one, two := newStore(t, p.primary.client(t), byDefault), newStore(t, p.replica.client(t), byDefault)
	put(t, one, "k", "a", "b")
	p.sync(t)
	p.link.cut()
	p.replica.promote(t)
	put(t, two, "k2", "c")
	require.Equal(t, []string{"b", "a"}, drain(t, one, "k"))
	require.Empty(t, drain(t, two, "k"))
	require.Empty(t, drain(t, one, "k2"))
	require.Equal(t, []string{"c"}, drain(t, two, "k2"))
}

// A replica that may be written to has what its primary hands out.
func TestWritableReplicaHandsOutNothing(t *testing.T) {
	primary := startServer(t)
	replica := primary.startReplica(t, "--replica-read-only", "no")
	for _, opts := range []redisstore.Options{byDefault, onTheirWord} {
		opts.Namespace = unused()
		one, two := newStore(t, primary.client(t), opts), newStore(t, replica.client(t), opts)
		put(t, one, "k", "a", "b")
		require.EqualValues(t, 1, primary.client(t).Wait(background, 1, patience).Val())
		_, err := two.Take(background, "k", 1)
		require.ErrorContains(t, err, "READONLY")
		_, err = two.Delete(background, "k", "a")
		require.ErrorContains(t, err, "READONLY")
		require.ErrorIs(t, two.Put(background, "k", entry("c")), cache.ErrNotStored)
		require.Equal(t, []string{"b", "a"}, drain(t, one, "k"))
	}
}

// With Replicas a removal that nobody could hear of is not made, and one that
// was not heard of hands out nothing.
func TestTakeNeedsItsReplicas(t *testing.T) {
	p := startPair(t)
	s := newStore(t, p.primary.client(t), withReplicas)
	put(t, s, "k", "a", "b", "c")
	p.sync(t)

	p.link.hold() // the primary still takes the replica for connected
	hasty := newStore(t, p.primary.client(t), impatient)
	_, err := hasty.Take(background, "k", 1)
	require.ErrorContains(t, err, "0 of 1")
	require.NotErrorIs(t, err, cache.ErrMiss)
	was, err := hasty.Delete(background, "k", "b")
	require.ErrorContains(t, err, "0 of 1")
	require.False(t, was)
	p.link.release()

	p.link.cut()
	primary := p.primary.client(t)
	await(t, "the primary's notice of it", func() bool {
		return primary.Do(background, "wait", "1", "1").Val() == int64(0) && replicas(primary) == "0"
	})
	_, err = s.Take(background, "k", 1)
	require.ErrorContains(t, err, "0 of 1 replicas are connected")
	_, err = s.Delete(background, "k", "a")
	require.ErrorContains(t, err, "0 of 1 replicas are connected")
	require.ErrorContains(t, hasty.Clear(background), "0 of 1")
	put(t, s, "k", "d") // a put may be lost

	p.link.mend()
	await(t, "the replica's return", func() bool { return replicas(primary) == "1" })
	p.replica.awaitSync(t)
	require.Equal(t, []string{"d"}, drain(t, s, "k")) // Clear has removed the others
}

// replicas is how many are connected, as a primary says.
func replicas(primary *redis.Client) string {
	return primary.InfoMap(background, "replication").Item("Replication", "connected_slaves")
}

// A farm is many workers on a store, and what they had.
type farm struct {
	store *redisstore.Store
	keys  int

	mu     sync.Mutex // guards the rest
	had    map[string]int
	failed int
	next   int
}

func newFarm(store *redisstore.Store) *farm {
	return &farm{store: store, keys: 8, had: make(map[string]int)}
}

func (f *farm) key(n int) string { return fmt.Sprint("key", n%f.keys) }

// put puts n entries, each under the next key.
func (f *farm) put(n int) {
	for range n {
		f.mu.Lock()
		f.next++
		id := f.next
		f.mu.Unlock()
		err := f.store.Put(background, f.key(id), entry(fmt.Sprint(id)))
		f.note(nil, err)
	}
}

// take takes until it has had n.
func (f *farm) take(n int) {
	for i := 0; n > 0; i++ {
		entries, err := f.store.Take(background, f.key(i), 1)
		f.note(entries, err)
		if n -= len(entries); len(entries) == 0 {
			f.put(1)
		}
	}
}

func (f *farm) note(entries []cache.Entry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		f.had[e.ID]++
	}
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		f.failed++
	}
}

// twice is how many entries were had twice.
func (f *farm) twice() (twice int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.had {
		if n > 1 {
			twice++
		}
	}
	return twice
}

// work has n workers take each so many.
func (f *farm) work(n, each int) *sync.WaitGroup {
	var all sync.WaitGroup
	for range n {
		all.Go(func() { f.take(each) })
	}
	return &all
}

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
sentinel down-after-milliseconds tickets 300
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
			require.Equal(t, arm.wrong, f.twice() > 0, "%d entries were had twice", f.twice())
		})
	}
}

// With Replicas the entries outlive the failover, and none comes twice.
func TestFailoverWithReplicasKeepsEntries(t *testing.T) {
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

// A slot that moves to another node while workers take from it takes its names
// along, and leaves its life behind. The client finds the node by itself.
func TestMovingSlotsHandOutNothingTwice(t *testing.T) {
	c := startCluster(t)
	for _, opts := range []redisstore.Options{byDefault, onTheirWord} {
		f := newFarm(newStore(t, c.client(t), opts))
		f.keys = 1
		f.put(60)
		f.work(1, 10).Wait()
		from, to := c.owner(t, indexOf(f.key(0)), 0), c.owner(t, indexOf(f.key(0)), 1)
		for range 2 {
			busy := f.work(4, 50)
			c.move(t, indexOf(f.key(0)), from, to)
			busy.Wait()
			from, to = to, from
		}
		f.work(1, 10).Wait()
		require.Zero(t, f.twice())
		require.NotEmpty(t, f.had)
	}
}

// indexOf is the name of a key's index in Redis.
func indexOf(key string) string { return "tlsresume:{=" + key + "}:ids" }

// owner is the node that has the slot of a name, or the node so many after it.
func (c *cluster) owner(t testing.TB, name string, after int) *server {
	t.Helper()
	slot, err := c.nodes[0].client(t).ClusterKeySlot(background, name).Result()
	require.NoError(t, err)
	i := 0
	for i+1 < len(c.nodes) && int(slot) >= (i+1)*slots/len(c.nodes) {
		i++
	}
	return c.nodes[(i+after)%len(c.nodes)]
}

// move moves the slot of a name, as redis-cli --cluster reshard does.
func (c *cluster) move(t testing.TB, name string, from, to *server) {
	t.Helper()
	source, target := from.client(t), to.client(t)
	slot, err := source.ClusterKeySlot(background, name).Result()
	require.NoError(t, err)
	require.NoError(t, target.Do(background, "cluster", "setslot", slot, "importing", from.nodeID(t)).Err())
	require.NoError(t, source.Do(background, "cluster", "setslot", slot, "migrating", to.nodeID(t)).Err())
	for {
		names, err := source.ClusterGetKeysInSlot(background, int(slot), 10).Result()
		require.NoError(t, err)
		if len(names) == 0 {
			break
		}
		args := []any{"migrate", "127.0.0.1", to.port(), "", 0, patience.Milliseconds(), "keys"}
		for _, name := range names {
			args = append(args, name)
		}
		require.NoError(t, source.Do(background, args...).Err())
	}
	for _, node := range []*server{to, from} {
		require.NoError(t, node.client(t).Do(background, "cluster", "setslot", slot, "node", to.nodeID(t)).Err())
	}
}
