package cache

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// keysOf are n keys of one shard, if others is false, or of all the others.
func keysOf(p *Pool[string, int], shard *shard[string, int], others bool, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		key := strconv.Itoa(i)
		if s, _ := p.shard(key); (s != shard) == others {
			keys = append(keys, key)
		}
	}
	return keys
}

// What a call brings to a shard that has nothing else to give, others make room
// for: bounds are the pool's.
func TestOtherShardsMakeRoom(t *testing.T) {
	const bound, size = shardFromKeys, 100
	for why, row := range map[string]struct {
		bytes int64
		bring func(p *Pool[string, int], key string)
	}{
		"keys, for an item": {0, func(p *Pool[string, int], key string) { p.Put(key, Item[int]{Size: size}) }},
		"keys, for a note":  {0, func(p *Pool[string, int], key string) { require.True(t, p.SwapNote(key, 0, 1)) }},
		"bytes": {bound * size / 2, func(p *Pool[string, int], key string) {
			p.Put(key, Item[int]{Size: bound * size / 4})
		}},
	} {
		t.Run(why, func(t *testing.T) {
			told := 0
			p := NewPool(Options[string, int]{
				MaxKeys: bound, MaxBytes: row.bytes,
				Dropped: func(string, int, Cause) { told++ },
			})
			require.Len(t, p.shards, shardCount)
			lone := &p.shards[shardCount/2]
			for _, key := range keysOf(p, lone, true, bound) {
				p.Put(key, Item[int]{Size: size})
			}
			require.Zero(t, lone.table.nodes)
			told = 0
			row.bring(p, keysOf(p, lone, false, 1)[0])
			require.Positive(t, told)
			require.LessOrEqual(t, p.keys.Load(), int64(bound))
			if row.bytes > 0 {
				require.LessOrEqual(t, p.Usage().Bytes, row.bytes)
			}
			require.Equal(t, 1, lone.table.nodes, "what came is not what goes")
		})
	}
}
