package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// entry is one whose value tells its ID.
func entry(id string) cache.Entry {
	return cache.Entry{ID: id, Value: []byte("value of " + id), Expires: time.UnixMilli(time.Now().Add(time.Hour).UnixMilli())}
}

func put(t testing.TB, s cache.Store, key string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, s.Put(background, key, entry(id)))
	}
}

// drain takes all, the newest first.
func drain(t testing.TB, s cache.Store, key string) (ids []string) {
	t.Helper()
	for {
		entries, err := s.Take(background, key, 1)
		if errors.Is(err, cache.ErrMiss) {
			return ids
		}
		require.NoError(t, err)
		for _, e := range entries {
			require.Equal(t, "value of "+e.ID, string(e.Value))
			ids = append(ids, e.ID)
		}
	}
}

// takeAll is drain for goroutines that must not end the test.
func takeAll(s cache.Store, key string) (ids []string) {
	for {
		entries, err := s.Take(background, key, 1)
		if err != nil {
			return ids
		}
		ids = append(ids, entries[0].ID)
	}
}

func noRetries(o *redis.Options) { o.MaxRetries = -1 }

// noTimeouts leaves it to the context to end a call.
func noTimeouts(o *redis.Options) { o.ReadTimeout, o.WriteTimeout = -1, -1 }

// direct and through are two stores on the same entries, the second behind a
// proxy.
func throughProxy(t *testing.T, change ...func(*redis.Options)) (direct, through *redisstore.Store, p *proxy) {
	server := startServer(t)
	p = startProxy(t, server.addr)
	direct = newStore(t, server.client(t), redisstore.Options{})
	put(t, direct, "warm", "up") // the server knows the scripts
	drain(t, direct, "warm")
	direct.Delete(background, "warm", "up")
	return direct, newStore(t, p.client(t, change...), redisstore.Options{}), p
}

// go-redis sends a command again when its reply did not come. The first has
// taken what the second does not find.
func TestTakeWhoseReplyIsLostLosesItsEntries(t *testing.T) {
	direct, through, p := throughProxy(t)
	put(t, direct, "k", "a", "b", "c")
	p.loseReply(func() {})
	got, err := through.Take(background, "k", 1)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "b", got[0].ID)
	require.Equal(t, []string{"a"}, drain(t, direct, "k"))
}

func TestTakeWithoutRetriesSaysThatItFailed(t *testing.T) {
	direct, through, p := throughProxy(t, noRetries)
	put(t, direct, "k", "a", "b")
	p.loseReply(func() {})
	_, err := through.Take(background, "k", 1)
	require.Error(t, err)
	require.NotErrorIs(t, err, cache.ErrMiss)
	require.Equal(t, []string{"a"}, drain(t, direct, "k"))
}

// A Put whose reply was lost and that is sent again brings back what somebody
// has taken in between. That somebody is fast here: he comes before the
// client learns that the connection has ended.
func TestPutWhoseReplyIsLostIsNotMadeAgain(t *testing.T) {
	direct, through, p := throughProxy(t)
	var taken atomic.Int64
	p.loseReply(func() { taken.Add(int64(len(takeAll(direct, "k")))) })
	err := through.Put(background, "k", entry("a"), entry("b"))
	require.Error(t, err)
	require.NotErrorIs(t, err, cache.ErrNotStored)
	require.EqualValues(t, 2, taken.Load())
	require.Empty(t, drain(t, direct, "k"))
}

// The same on a cluster, whose client has retries of its own.
func TestPutWhoseReplyIsLostIsNotMadeAgainOnACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	direct := newStore(t, c.client(t), redisstore.Options{})
	put(t, direct, "k", "a")
	drain(t, direct, "k")

	proxies := make(map[string]*proxy)
	for _, node := range c.nodes {
		proxies[node.addr] = startProxy(t, node.addr)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{c.nodes[0].addr}, PoolSize: 1,
		NewClient: func(o *redis.Options) *redis.Client {
			if p := proxies[o.Addr]; p != nil {
				o.Addr = p.addr
			}
			return redis.NewClient(o)
		},
	})
	defer client.Close()
	through := newStore(t, client, redisstore.Options{})
	put(t, through, "k", "warm")
	require.Equal(t, []string{"warm"}, drain(t, through, "k"))

	var taken atomic.Int64
	for _, p := range proxies {
		p.loseReply(func() { taken.Add(int64(len(takeAll(direct, "k")))) })
	}
	err := through.Put(background, "k", entry("a"))
	require.Error(t, err)
	require.NotErrorIs(t, err, cache.ErrNotStored)
	require.EqualValues(t, 1, taken.Load())
	require.Empty(t, drain(t, direct, "k"))
}

// Of two who delete it none may be told that he has it, but not both.
func TestDeleteWhoseReplyIsLostIsNotTrueTwice(t *testing.T) {
	direct, through, p := throughProxy(t)
	put(t, direct, "k", "a")
	p.loseReply(func() {})
	was, err := through.Delete(background, "k", "a")
	require.NoError(t, err)
	require.False(t, was)
	require.Empty(t, drain(t, direct, "k"))
}

// Whoever hears ErrNotStored goes on to use the ticket: it must not be there.
func TestPutThatCannotConnectHasStoredNothing(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newStore(t, server.client(t), redisstore.Options{})
	server.kill()
	require.ErrorIs(t, s.Put(background, "k", entry("a")), cache.ErrNotStored)
	_, err := s.Take(background, "k", 1)
	require.Error(t, err)
	require.NotErrorIs(t, err, cache.ErrMiss)
}

// The client does not end a command when its context does: it has sent it. The
// caller is let go all the same.
func TestContextEndsACallThatHangs(t *testing.T) {
	direct, through, p := throughProxy(t, noTimeouts)
	put(t, direct, "k", "a", "b")
	for name, call := range map[string]func(context.Context) error{
		"Take":   func(ctx context.Context) error { _, err := through.Take(ctx, "k", 1); return err },
		"Put":    func(ctx context.Context) error { return through.Put(ctx, "k", entry("c")) },
		"Delete": func(ctx context.Context) error { _, err := through.Delete(ctx, "k", "a"); return err },
		"Clear":  func(ctx context.Context) error { return through.Clear(ctx) },
		"List": func(ctx context.Context) (last error) {
			for _, err := range through.List(ctx) {
				last = err
			}
			return last
		},
	} {
		p.hold()
		before := p.reads.Load()
		ctx, cancel := context.WithCancel(background)
		ended := make(chan error, 1)
		go func() { ended <- call(ctx) }()
		await(t, "the command", func() bool { return p.reads.Load() > before })
		cancel()
		var err error
		select {
		case err = <-ended: // while nothing passes
		case <-time.After(patience):
			t.Errorf("%s does not end", name)
		}
		p.release()
		require.ErrorIs(t, err, context.Canceled, name)
		require.NotErrorIs(t, err, cache.ErrMiss, name)
	}
}

// A Put that was let go may still be sending what its caller has by then
// overwritten.
func TestPutThatWasLetGoSendsWhatItWasGiven(t *testing.T) {
	server := startServer(t)
	p := startProxy(t, server.addr)
	opts := redisstore.Options{MaxValue: 32 << 20}
	direct, through := newStore(t, server.client(t), opts), newStore(t, p.client(t, noTimeouts), opts)
	put(t, through, "warm", "up")                     // the server knows the script
	value := bytes.Repeat([]byte("x"), opts.MaxValue) // more than sockets hold
	p.hold()
	before := p.reads.Load()
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error, 1)
	go func() { ended <- through.Put(ctx, "k", cache.Entry{ID: "a", Value: value}) }()
	await(t, "the first bytes", func() bool { return p.reads.Load() > before })
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	clear(value)
	p.release()
	var got []cache.Entry
	await(t, "the entry", func() (there bool) {
		var err error
		got, err = direct.Take(background, "k", 1)
		return err == nil
	})
	require.Equal(t, len(value), bytes.Count(got[0].Value, []byte("x")))
}
