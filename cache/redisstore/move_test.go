package redisstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// A slot that moves to another node while workers take from it takes its names
// along, and leaves its life behind. The client finds the node by itself.
func TestMovingSlotsHandOutNothingTwice(t *testing.T) {
	t.Parallel()
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
	for i < 2 && int(slot) >= (i+1)*slots/3 {
		i++
	}
	return c.nodes[(i+after)%3]
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
