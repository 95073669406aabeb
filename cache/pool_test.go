package cache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func item(v int) cache.Item[int] { return cache.Item[int]{Value: v, Size: 1} }

func taken(t *testing.T, p *cache.Pool[string, int], key string) int {
	t.Helper()
	it, ok := p.Take(key, noon, nil)
	require.True(t, ok)
	return it.Value
}

func TestTakeReturnsTheNewestOnce(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{})
	for v := range 3 {
		p.Put("a", item(v))
	}
	require.Equal(t, []int{2, 1, 0}, []int{taken(t, p, "a"), taken(t, p, "a"), taken(t, p, "a")})
	_, ok := p.Take("a", noon, nil)
	require.False(t, ok)
}

func TestItemPutBackRegainsItsPlace(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{MaxPerKey: 2})
	p.Put("a", item(1))
	first, _ := p.Take("a", noon, nil)
	p.Put("a", item(2))
	p.Put("a", first)
	require.Equal(t, 2, taken(t, p, "a"))
	p.Put("a", item(3))
	p.Put("a", item(4)) // 1 makes room
	require.Equal(t, []int{4, 3}, []int{taken(t, p, "a"), taken(t, p, "a")})
}

func TestItemExpiresAtItsTime(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{})
	p.Put("a", cache.Item[int]{Value: 1, Expires: noon})
	_, ok := p.Take("a", noon.Add(-1), func(int) cache.Verdict { return cache.Share })
	require.True(t, ok)
	require.Zero(t, p.Sweep(noon.Add(-1)))
	_, ok = p.Take("a", noon, nil)
	require.False(t, ok)
}

func TestVerdictsSkipShareAndDrop(t *testing.T) {
	var dropped []int
	p := cache.NewPool(cache.Options[string, int]{Dropped: func(_ string, v int, why cache.Cause) {
		require.Equal(t, cache.Refused, why)
		dropped = append(dropped, v)
	}})
	for v := range 4 {
		p.Put("a", item(v))
	}
	verdicts := []cache.Verdict{cache.Share, cache.Take, cache.Drop, cache.Skip} // by value
	it, ok := p.Take("a", noon, func(v int) cache.Verdict { return verdicts[v] })
	require.True(t, ok)
	require.Equal(t, 1, it.Value)
	require.Equal(t, []int{2}, dropped)
	require.Equal(t, []int{3, 0}, []int{taken(t, p, "a"), taken(t, p, "a")}, "skipped and shared ones stay")
}

func TestDroppedMayCallThePool(t *testing.T) {
	var p *cache.Pool[string, int]
	causes := map[cache.Cause]int{}
	p = cache.NewPool(cache.Options[string, int]{MaxKeys: 1, Dropped: func(_ string, _ int, why cache.Cause) {
		causes[why]++
		p.Usage()
		p.Take("none", noon, nil)
	}})
	p.Put("a", item(1))
	p.Put("b", item(2))
	require.True(t, p.Remove("b", func(v int) bool { return v == 2 }))
	p.Put("b", item(3))
	p.Take("b", noon, func(int) cache.Verdict { return cache.Drop })
	p.Put("b", cache.Item[int]{Expires: noon})
	require.Equal(t, 1, p.Sweep(noon))
	p.Put("b", item(4))
	require.Equal(t, 1, p.RemoveIf(func(string, int) bool { return true }))
	require.Equal(t, map[cache.Cause]int{cache.Evicted: 1, cache.Removed: 2, cache.Refused: 1, cache.Expired: 1}, causes)
	require.Zero(t, p.Usage())
}

func TestPanickingPickLeavesThePoolUsable(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{})
	p.Put("a", item(1))
	require.Panics(t, func() { p.Take("a", noon, func(int) cache.Verdict { panic("theirs") }) })
	require.Equal(t, 1, taken(t, p, "a"))
}

func TestBoundsHoldInEveryPool(t *testing.T) {
	for _, bounds := range []cache.Options[int, int]{
		{MaxKeys: 1}, {MaxKeys: 100}, {MaxKeys: 1024}, {MaxKeys: 3000, MaxBytes: 5000}, {MaxBytes: 999}, {MaxPerKey: 3},
	} {
		p := cache.NewPool(bounds)
		random := rand.New(rand.NewPCG(1, 2))
		for range 20_000 {
			p.Put(random.IntN(4000), cache.Item[int]{Size: random.Int64N(20)})
		}
		u := p.Usage()
		if bounds.MaxKeys > 0 {
			require.LessOrEqual(t, u.Keys, bounds.MaxKeys)
		}
		if bounds.MaxKeys > 0 && bounds.MaxBytes == 0 {
			require.Equal(t, bounds.MaxKeys, u.Keys, "no key goes before its time")
		}
		if bounds.MaxBytes > 0 {
			require.LessOrEqual(t, u.Bytes, bounds.MaxBytes)
			require.Greater(t, u.Bytes, bounds.MaxBytes*31/32-40, "little stays unused")
		}
		if bounds.MaxPerKey > 0 {
			require.LessOrEqual(t, u.Items, 3*u.Keys)
		}
	}
}

func TestItemLargerThanThePoolIsDropped(t *testing.T) {
	var why []cache.Cause
	p := cache.NewPool(cache.Options[string, int]{MaxBytes: 10, Dropped: func(_ string, _ int, c cache.Cause) { why = append(why, c) }})
	p.Put("a", cache.Item[int]{Size: 11})
	require.Equal(t, []cache.Cause{cache.Evicted}, why)
	require.Zero(t, p.Usage())
}

func TestNegativeBoundsPanic(t *testing.T) {
	for _, o := range []cache.Options[string, int]{{MaxKeys: -1}, {MaxPerKey: -1}, {MaxBytes: -1}} {
		require.Panics(t, func() { cache.NewPool(o) })
	}
}

func TestFormattingShowsNoValue(t *testing.T) {
	p := cache.NewPool(cache.Options[string, string]{})
	it := cache.Item[string]{Value: "secret", Size: 7, Expires: noon}
	p.Put("key", it)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		require.Equal(t, "cache.Pool(1 keys, 1 items, 7 bytes)", fmt.Sprintf(verb, p))
		require.Equal(t, "cache.Item(7 bytes, expires 2030-01-01T12:00:00Z)", fmt.Sprintf(verb, it))
	}
	require.Equal(t, "[expired evicted refused removed Cause(9)]",
		fmt.Sprint([]cache.Cause{cache.Expired, cache.Evicted, cache.Refused, cache.Removed, 9}))
}

// TestEveryValueLeavesOnce puts numbered values from many goroutines and holds
// that each is taken or dropped exactly once, whatever else goes on.
func TestEveryValueLeavesOnce(t *testing.T) {
	for _, maxKeys := range []int{8, 2048} {
		const goroutines, each = 8, 3000
		left := make([]atomic.Int32, goroutines*each)
		p := cache.NewPool(cache.Options[int, int]{
			MaxKeys: maxKeys, MaxPerKey: 4, MaxBytes: int64(maxKeys) * 3,
			Dropped: func(_, v int, _ cache.Cause) { left[v].Add(1) },
		})
		var group sync.WaitGroup
		for g := range goroutines {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(g), 7))
				for i := range each {
					key := random.IntN(maxKeys * 2)
					p.Put(key, cache.Item[int]{Value: g*each + i, Size: 1, Expires: noon.Add(time.Duration(random.IntN(9)-1) * time.Hour)})
					it, ok := p.Take(random.IntN(maxKeys*2), noon, nil)
					switch {
					case ok && random.IntN(4) == 0:
						p.Put(key, it)
					case ok:
						left[it.Value].Add(1)
					case random.IntN(500) == 0:
						p.RemoveIf(func(k, _ int) bool { return k == key })
					}
				}
			})
		}
		group.Wait()
		p.RemoveIf(func(int, int) bool { return true })
		for v := range left {
			require.EqualValues(t, 1, left[v].Load(), v)
		}
		require.Zero(t, p.Usage())
	}
}

func ExamplePool() {
	p := cache.NewPool(cache.Options[string, string]{MaxKeys: 100, MaxPerKey: 8})
	p.Put("example.com:443", cache.Item[string]{Value: "older"})
	p.Put("example.com:443", cache.Item[string]{Value: "newer"})
	for range 3 {
		item, ok := p.Take("example.com:443", time.Now(), nil)
		fmt.Printf("%q %t\n", item.Value, ok)
	}
	// Output:
	// "newer" true
	// "older" true
	// "" false
}

func sorted(s []int) []int { slices.Sort(s); return s }
