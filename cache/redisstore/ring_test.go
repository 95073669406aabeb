package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A ring goes on without the servers that do not answer, and passes over them
// when it is asked for all. What they have comes back with them: it must not
// pass for cleared.
func TestClearOfARingFailsWhileAServerIsAway(t *testing.T) {
	t.Parallel()
	there, away := startServer(t), startServer(t)
	network := startProxy(t, away.addr)
	client := redis.NewRing(&redis.RingOptions{
		Addrs:              map[string]string{"a": there.addr, "b": network.addr},
		HeartbeatFrequency: 20 * time.Millisecond,
	})
	defer client.Close()
	s := newStore(t, client, byDefault)
	for _, key := range []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"} {
		put(t, s, key, "x")
	}
	require.NotEmpty(t, names(t, away.client(t)))

	network.cut()
	await(t, "the ring's notice of it", func() bool { return client.Len() == 1 })
	require.ErrorContains(t, s.Clear(background), "1 of 2 servers")
	var listed error
	for _, err := range s.List(background) {
		listed = err
	}
	require.ErrorContains(t, listed, "1 of 2 servers")

	network.mend()
	await(t, "its return", func() bool { return client.Len() == 2 })
	require.NoError(t, s.Clear(background))
	require.Empty(t, names(t, away.client(t)))
}

// What was put while a server was away is where the ring does not look for it
// any more when that server is back, and there when it goes again.
func TestClearOfARingClearsWhatItsServersHave(t *testing.T) {
	t.Parallel()
	there, away := startServer(t), startServer(t)
	network := startProxy(t, away.addr)
	client := redis.NewRing(&redis.RingOptions{
		Addrs:              map[string]string{"a": there.addr, "b": network.addr},
		HeartbeatFrequency: 20 * time.Millisecond,
	})
	defer client.Close()
	s := newStore(t, client, byDefault)
	network.cut()
	await(t, "the ring's notice of it", func() bool { return client.Len() == 1 })
	for _, key := range []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"} {
		put(t, s, key, "x")
	}
	network.mend()
	await(t, "its return", func() bool { return client.Len() == 2 })
	require.NoError(t, s.Clear(background))
	require.Empty(t, names(t, there.client(t)))
}
