//go:build unix

package redisstore_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// A cluster's client waits for the replicas of the node that has the key.
func TestTakeNeedsItsReplicasOnACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	primary := c.owner(t, indexOf("k"), 0)
	replica := c.addReplica(t, primary)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.nodes[0].addr}})
	defer client.Close()
	s, hasty := newStore(t, client, withReplicas), newStore(t, client, impatient)
	put(t, s, "k", "a", "b", "c")
	got, err := s.Take(background, "k", 1)
	require.NoError(t, err)
	require.Equal(t, "c", got[0].ID)

	require.NoError(t, replica.cmd.Process.Signal(syscall.SIGSTOP))
	_, err = hasty.Take(background, "k", 1)
	require.ErrorContains(t, err, "0 of 1")
	require.NotErrorIs(t, err, cache.ErrMiss)
	require.NoError(t, replica.cmd.Process.Signal(syscall.SIGCONT))
	require.Equal(t, []string{"a"}, drain(t, s, "k"))

	// Other nodes have no replica.
	for _, name := range strings.Split("abcdefghijklmnop", "") {
		put(t, s, name, "x")
		if c.owner(t, indexOf(name), 0) == primary {
			require.Equal(t, []string{"x"}, drain(t, s, name))
			continue
		}
		_, err := hasty.Take(background, name, 1)
		require.ErrorContains(t, err, "0 of 1 replicas are connected")
	}
}
