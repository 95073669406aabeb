package cache

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Whatever its hash, also that of other keys, a node is found from when it is
// inserted until it is removed, while the table grows and when it is emptied.
func TestTableFindsWhatIsInIt(t *testing.T) {
	for why, hash := range map[string]func(key int) uint32{
		"spread":            func(key int) uint32 { return uint32(key) * 0x9e3779b9 },
		"few hashes":        func(key int) uint32 { return uint32(key % 7) },
		"alike in low bits": func(key int) uint32 { return uint32(key) << 20 },
	} {
		t.Run(why, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			table, in := newTable[int, int](), map[int]*node[int, int]{}
			const keys = 600
			check := func() {
				require.Equal(t, len(in), table.nodes)
				for key := range keys {
					require.Same(t, in[key], table.find(hash(key), key), key)
				}
			}
			for round := range 4000 {
				switch key := random.IntN(keys); {
				case in[key] == nil:
					in[key] = &node[int, int]{key: key, hash: hash(key)}
					table.insert(in[key])
				default:
					table.remove(in[key])
					delete(in, key)
				}
				if round%100 == 0 {
					check()
				}
			}
			for key, n := range in {
				table.remove(n)
				delete(in, key)
			}
			check()
		})
	}
}

// A chain is as long as chance makes it, at any number of keys, and not only
// at a power of two.
func TestTableKeepsItsChainsShort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table := newTable[int, int]()
	for key := range 10_000 {
		table.insert(&node[int, int]{key: key, hash: random.Uint32()})
		require.GreaterOrEqual(t, len(table.buckets), key+1)
	}
	for _, n := range table.buckets {
		length := 0
		for ; n != nil; n = n.next {
			length++
		}
		require.Less(t, length, 16)
	}
}

// A pool has a node for each key: it fits the allocator's class of 112 bytes if
// the key is a string with a pointer beside it.
func TestNodeIsSmall(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(node[struct {
		pointer *int
		name    string
	}, *int]{}), uintptr(112))
}

// Places are given anew after four thousand million of them; the order of what
// is there does not suffer.
func TestPlacesMayBeginAnew(t *testing.T) {
	p := NewPool(Options[int, int]{MaxKeys: 1})
	p.shards[0].seq = math.MaxUint32 - 2
	for v := range 6 {
		p.Put(0, Item[int]{Value: v})
	}
	var back []Item[int]
	for range 3 {
		item, ok := p.Take(0, time.Time{}, func(v int) Verdict { return Verdict(v % 2) }) // odd: take
		require.True(t, ok)
		require.NotZero(t, item.Place)
		back = append(back, item)
	}
	for _, item := range back {
		p.Put(0, item)
	}
	for v := 5; v >= 0; v-- {
		item, _ := p.Take(0, time.Time{}, nil)
		require.Equal(t, v, item.Value)
	}
}
