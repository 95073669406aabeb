package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A ring is two servers, one of which can be away.
type ring struct {
	there, away *server
	network     *proxy
	client      *redis.Ring
}

func startRing(t *testing.T) *ring {
	t.Helper()
	r := &ring{there: startServer(t), away: startServer(t)}
	r.network = startProxy(t, r.away.addr)
	r.client = redis.NewRing(&redis.RingOptions{
		Addrs:              map[string]string{"a": r.there.addr, "b": r.network.addr},
		HeartbeatFrequency: 20 * time.Millisecond,
	})
	t.Cleanup(func() { r.client.Close() })
	return r
}

func (r *ring) cut(t *testing.T) {
	r.network.cut()
	await(t, "the ring's notice of it", func() bool { return r.client.Len() == 1 })
}

func (r *ring) mend(t *testing.T) {
	r.network.mend()
	await(t, "its return", func() bool { return r.client.Len() == 2 })
}

// A ring goes on without the servers that do not answer, and passes over them
// when it is asked for all. What they have comes back with them: it must not
// pass for cleared.
func TestClearOfARingFailsWhileAServerIsAway(t *testing.T) {
	t.Parallel()
	r := startRing(t)
	s := newStore(t, r.client, byDefault)
	for _, key := range []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"} {
		put(t, s, key, "x") // so many that each server has some
	}
	require.NotEmpty(t, names(t, r.away.client(t)))

	r.cut(t)
	require.ErrorContains(t, s.Clear(background), "1 of 2 servers")
	var listed error
	for _, err := range s.List(background) {
		listed = err
	}
	require.ErrorContains(t, listed, "1 of 2 servers")

	r.mend(t)
	require.NoError(t, s.Clear(background))
	require.Empty(t, names(t, r.away.client(t)))
}

// What was put while a server was away is where the ring does not look for it
// any more when that server is back, and there when it goes again.
func TestClearOfARingClearsWhatItsServersHave(t *testing.T) {
	t.Parallel()
	r := startRing(t)
	s := newStore(t, r.client, byDefault)
	r.cut(t)
	for _, key := range []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"} {
		put(t, s, key, "x")
	}
	r.mend(t)
	require.NoError(t, s.Clear(background))
	require.Empty(t, names(t, r.there.client(t)))
}
