package redisstore_test

import (
	"fmt"
	"net"
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

// What was taken before must not be had by Delete either.
func TestRestartLeavesNothingToDelete(t *testing.T) {
	server := startServer(t)
	client := server.client(t)
	s := newStore(t, client, byDefault)
	put(t, s, "k", "a")
	require.NoError(t, client.Save(background).Err())
	require.Equal(t, []string{"a"}, drain(t, s, "k"))
	server.restart(t)
	for _, err := range s.List(background) {
		t.Errorf("something is listed: %v", err)
	}
	was, err := s.Delete(background, "k", "a")
	require.NoError(t, err)
	require.False(t, was)
	require.Empty(t, names(t, client))
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
	t.Parallel()
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
