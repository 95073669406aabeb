package cache_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// Whatever makes values leave the pool, one after the other is told of, and a
// Dropped that panics keeps nobody else from hearing of his.
func TestEveryDropIsToldOfWhateverDroppedPanics(t *testing.T) {
	const all = 5
	late := noon.Add(time.Hour)
	for _, row := range []struct {
		what string
		opts cache.Options[string, int]
		do   func(p *cache.Pool[string, int])
	}{
		{"RemoveIf", cache.Options[string, int]{}, func(p *cache.Pool[string, int]) {
			p.RemoveIf(func(string, int) bool { return true })
		}},
		{"Sweep", cache.Options[string, int]{}, func(p *cache.Pool[string, int]) { p.Sweep(late) }},
		{"Take, over what has expired", cache.Options[string, int]{}, func(p *cache.Pool[string, int]) {
			p.Take("a", late, nil)
		}},
		{"Take, over what is refused", cache.Options[string, int]{}, func(p *cache.Pool[string, int]) {
			p.Take("a", noon, func(int) cache.Verdict { return cache.Drop })
		}},
		{"Put of another key", cache.Options[string, int]{MaxKeys: 1}, func(p *cache.Pool[string, int]) {
			p.Put("b", item(9))
		}},
		{"Put of another group", cache.Options[string, int]{MaxGroups: 1}, func(p *cache.Pool[string, int]) {
			p.Put("a", grouped("another", 9))
		}},
	} {
		for name, panics := range map[string]func(v int) bool{
			"the first": func(v int) bool { return v == all-1 }, // the newest is
			"the last":  func(v int) bool { return v == 0 },
			"each":      func(v int) bool { return v < all },
		} {
			t.Run(row.what+", panics: "+name, func(t *testing.T) {
				told := make(map[int]int)
				row.opts.Dropped = func(_ string, v int, _ cache.Cause) {
					told[v]++
					if panics(v) {
						panic("theirs")
					}
				}
				p := cache.NewPool(row.opts)
				for v := range all {
					it := item(v)
					it.Expires = late
					p.Put("a", it)
				}
				require.PanicsWithValue(t, "theirs", func() { row.do(p) })
				require.Equal(t, map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 4: 1}, told)
				require.Subset(t, []int{9}, drained(p, "a"), "they are out")
				p.Put("c", item(7)) // and nobody holds a lock
				require.Equal(t, 7, taken(t, p, "c"))
			})
		}
	}
}

// watched puts a value into the pool that only the pool refers to.
//
//go:noinline
func watched(p *cache.Pool[string, *[64]byte]) weak.Pointer[[64]byte] {
	value := new([64]byte)
	p.Put("a", cache.Item[*[64]byte]{Value: value})
	return weak.Make(value)
}

// What was taken out is the taker's, secrets included: the pool must not keep
// a copy in the room that a key has for its first items.
func TestTheKeyOfATakenValueDoesNotKeepIt(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8} {
		p := cache.NewPool(cache.Options[string, *[64]byte]{})
		var values []weak.Pointer[[64]byte]
		for range n {
			values = append(values, watched(p))
		}
		for range n {
			_, ok := p.Take("a", noon, nil)
			require.True(t, ok)
		}
		requireCollected(t, values)
		runtime.KeepAlive(p)
	}
}

// Nor does the key that took over what an evicted one had.
func TestTheSuccessorOfAnEvictedKeyDoesNotKeepItsValues(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8} {
		p := cache.NewPool(cache.Options[string, *[64]byte]{MaxKeys: 1})
		var values []weak.Pointer[[64]byte]
		for range n {
			values = append(values, watched(p))
		}
		p.Put("b", cache.Item[*[64]byte]{})
		requireCollected(t, values)
		runtime.KeepAlive(p)
	}
}

func requireCollected(t *testing.T, values []weak.Pointer[[64]byte]) {
	t.Helper()
	require.Eventually(t, func() bool {
		runtime.GC()
		for _, v := range values {
			if v.Value() != nil {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond, "of %d", len(values))
}
