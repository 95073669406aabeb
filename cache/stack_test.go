package cache

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A key's room for many items goes with the key: neither a node that is kept to
// be used again nor the key that takes it over has it.
func TestForgottenNodeHasNoRoomForMany(t *testing.T) {
	p := NewPool(Options[string, int]{MaxKeys: 2})
	for range 64 {
		p.Put("a", Item[int]{})
	}
	require.NotNil(t, p.shards[0].queue.oldest.rest)
	p.RemoveIf(func(string, int) bool { return true })
	require.NotNil(t, p.shards[0].free)
	require.Nil(t, p.shards[0].free.rest)
	for _, key := range []string{"b", "c", "d"} {
		p.Put(key, Item[int]{})
	}
	for n := p.shards[0].queue.oldest; n != nil; n = n.newer {
		require.Nil(t, n.rest, n.key)
	}
}
