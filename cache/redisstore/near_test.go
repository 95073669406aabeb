package redisstore_test

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// A counter is a hook that counts the commands that a client is given.
type counter struct{ commands atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.commands.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// nearby is a cache with a near tier over the fleet's Redis, and a count of
// what it asks there.
func (f *fleet) nearby(t testing.TB, size int, client *redis.Client) (*resume.ClientCache, *counter) {
	t.Helper()
	require.NoError(t, client.Ping(background).Err())
	calls := new(counter)
	client.AddHook(calls)
	keys := tlstest.Must(ticket.NewKeyring(f.key))
	store := newStore(t, client, redisstore.Options{})
	return &resume.ClientCache{Store: resume.Seal(store, keys), NearTickets: size}, calls
}

func (f *fleet) dialer(c *resume.ClientCache) *resume.Dialer {
	return &resume.Dialer{Scope: c.Scope("tenant"), Config: &tls.Config{
		RootCAs: f.ca.Pool(), ServerName: host, CurvePreferences: []tls.CurveID{tls.CurveP256},
	}}
}

// A process that comes to a stocked pool has a batch in one round trip, and
// asks no more while it has enough; what it still holds at its end others have.
func TestNearTierHasABatchInOneRoundTrip(t *testing.T) {
	f := newFleet(t)
	f.stockWith(t, 16)
	client := f.primary.client(t)
	c, calls := f.nearby(t, 8, client)
	d := f.dialer(c)

	allowed := int64(1)
	if resumed, err := visit(d, f.Addr); !resumed { // on a slow machine it did not wait
		require.NoError(t, err)
		allowed++ // and its ticket is one more than is held: a put
	}
	await(t, "the batch", func() bool { return c.Stats().Fetched == 8 })
	for range 8 {
		resumed, err := visit(d, f.Addr)
		require.NoError(t, err)
		require.True(t, resumed)
	}
	require.LessOrEqual(t, calls.commands.Load(), allowed, "commands for 9 connections")
	require.EqualValues(t, 8, c.Stats().Fetched)

	held := c.Stats().Pooled
	require.Positive(t, held)
	require.NoError(t, client.FlushAll(background).Err())
	require.NoError(t, c.Close())
	require.GreaterOrEqual(t, c.Stats().Stored, uint64(held))
	await(t, "a process that resumes its first connection from what was spilled", func() bool {
		got := ended(t, start(t, f.task(1, 1)))
		require.Zero(t, got.Failed)
		return got.Resumed == 1
	})
	f.requireNoReuse(t)
}

// stockWith leaves n tickets in Redis, which then knows the script of Take.
func (f *fleet) stockWith(t *testing.T, n int) {
	t.Helper()
	c, _ := f.nearby(t, 0, f.primary.client(t))
	got, err := f.dialer(c).Warm(background, "tcp", f.Addr, n)
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.NoError(t, c.Close())
	_, err = newStore(t, f.primary.client(t), byDefault).Take(background, "none", 1)
	require.ErrorIs(t, err, cache.ErrMiss)
}

// What killed processes held near them is lost, and never offered again.
func TestKilledProcessesWithANearTierOfferNothingTwice(t *testing.T) {
	f := newFleet(t)
	f.near = 4
	f.stockWith(t, 64)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var killed, resumed atomic.Int64
	for n := range 4 {
		random := rand.New(rand.NewPCG(uint64(n), 11))
		all.Go(func() { f.killers(t, random, stop, &killed, &resumed) })
	}
	for range 4 {
		f.busy(t)
	}
	close(stop)
	all.Wait()
	counts := f.requireNoReuse(t)
	t.Logf("%d connections of %d killed processes, %d offered a ticket", counts.Connections, killed.Load(), counts.Offered)
	require.Positive(t, resumed.Load())
	require.Positive(t, counts.Offered)
}
