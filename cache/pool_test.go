package cache_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func item(v int) cache.Item[int] { return cache.Item[int]{Value: v, Size: 1} }

// only takes v.
func only(v int) func(int) cache.Verdict {
	return func(w int) cache.Verdict {
		if v == w {
			return cache.Take
		}
		return cache.Skip
	}
}

func grouped(group string, v int) cache.Item[int] {
	return cache.Item[int]{Value: v, Group: group, Size: 1}
}

func taken(t *testing.T, p *cache.Pool[string, int], key string) int {
	t.Helper()
	it, ok := p.Take(key, noon, nil)
	require.True(t, ok)
	return it.Value
}

// drained takes all values of the key, the newest first.
func drained(p *cache.Pool[string, int], key string) (values []int) {
	for it, ok := p.Take(key, noon, nil); ok; it, ok = p.Take(key, noon, nil) {
		values = append(values, it.Value)
	}
	return values
}

// drainedFrom takes all values of a group, the newest first.
func drainedFrom(p *cache.Pool[string, int], key, group string) (values []int) {
	for it, ok := p.TakeFrom(key, group, noon, nil); ok; it, ok = p.TakeFrom(key, group, noon, nil) {
		values = append(values, it.Value)
	}
	return values
}

// evictions makes the options' Dropped collect what was evicted, and fails the
// test over any other cause.
func evictions(t *testing.T, opts cache.Options[string, int]) (*cache.Pool[string, int], *[]int) {
	evicted := new([]int)
	opts.Dropped = func(_ string, v int, why cache.Cause) {
		require.Equal(t, cache.Evicted, why)
		*evicted = append(*evicted, v)
	}
	return cache.NewPool(opts), evicted
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

func TestTakeLooksAtAllGroupsInTheOrderOfReceipt(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{})
	for v, group := range []string{"x", "y", "", "x", "y"} {
		p.Put("a", grouped(group, v))
	}
	var seen []int
	it, ok := p.Take("a", noon, func(v int) cache.Verdict {
		seen = append(seen, v)
		return only(1)(v)
	})
	require.True(t, ok)
	require.Equal(t, "y", it.Group)
	require.Equal(t, []int{4, 3, 2, 1}, seen)
	require.Equal(t, []int{4, 3, 2, 0}, drained(p, "a"))
}

func TestTakeFromLooksWithinOneGroup(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{})
	for v, group := range []string{"x", "", "y", "x", "", "y"} {
		p.Put("a", grouped(group, v))
	}
	p.Put("b", grouped("x", 9))
	require.Equal(t, []int{3, 0}, drainedFrom(p, "a", "x"))
	require.Equal(t, []int{4, 1}, drainedFrom(p, "a", ""), "empty is a group like any other")
	require.Empty(t, drainedFrom(p, "a", "z"))
	require.Empty(t, drainedFrom(p, "none", "x"))
	require.Equal(t, []int{5, 2}, drained(p, "a"))
}

func TestTakeFromObeysPickAsTakeDoes(t *testing.T) {
	var refused []int
	p := cache.NewPool(cache.Options[string, int]{Dropped: func(_ string, v int, why cache.Cause) {
		require.Equal(t, cache.Refused, why)
		refused = append(refused, v)
	}})
	for v := range 4 {
		p.Put("a", grouped("x", v))
		p.Put("a", grouped("y", v+10))
	}
	verdicts := []cache.Verdict{cache.Share, cache.Take, cache.Drop, cache.Skip} // by value
	pick := func(v int) cache.Verdict { return verdicts[v] }                     // panics over y's
	for _, want := range []int{1, 0, 0} {
		it, ok := p.TakeFrom("a", "x", noon, pick)
		require.True(t, ok)
		require.Equal(t, want, it.Value)
	}
	require.Equal(t, []int{2}, refused)
	require.Equal(t, []int{13, 3, 12, 11, 10, 0}, drained(p, "a"))
}

func TestTakeFromDropsTheExpiredOfItsGroupOnly(t *testing.T) {
	var dropped []int
	p := cache.NewPool(cache.Options[string, int]{Dropped: func(_ string, v int, why cache.Cause) {
		require.Equal(t, cache.Expired, why)
		dropped = append(dropped, v)
	}})
	p.Put("a", cache.Item[int]{Value: 1, Group: "x", Expires: noon})
	p.Put("a", cache.Item[int]{Value: 2, Group: "y", Expires: noon})
	require.Empty(t, drainedFrom(p, "a", "x"))
	require.Equal(t, []int{1}, dropped)
	require.Equal(t, 1, p.Sweep(noon))
}

func TestMaxPerKeyBoundsEachGroupOnItsOwn(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxPerKey: 2})
	for v, group := range []string{"x", "x", "", "y", "x", "", "y", "y"} {
		p.Put("a", grouped(group, v))
	}
	require.Equal(t, []int{0, 3}, *evicted)
	require.Equal(t, []int{7, 6, 5, 4, 2, 1}, drained(p, "a"))
}

func TestNewGroupEvictsTheGroupWhoseNewestIsTheOldest(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxGroups: 2})
	for v, group := range []string{"x", "y", "y", "x"} {
		p.Put("a", grouped(group, v))
	}
	p.Put("b", grouped("z", 9))
	require.Empty(t, *evicted, "old groups, or another key")
	p.Put("a", grouped("z", 4))
	require.ElementsMatch(t, []int{1, 2}, *evicted, "y is younger than x, but its newest is older")
	require.Equal(t, []int{4, 3, 0}, drained(p, "a"))
}

func TestOnlyGroupsWithValuesCountAgainstMaxGroups(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxGroups: 2})
	p.Put("a", grouped("x", 0))
	p.Put("a", grouped("y", 1))
	drainedFrom(p, "a", "x")
	p.Put("a", grouped("z", 2))
	require.Equal(t, []int{2}, drainedFrom(p, "a", "z"))
	p.Put("a", grouped("", 3))
	require.Empty(t, *evicted)
	require.Equal(t, []int{3, 1}, drained(p, "a"))
}

func TestGroupThatIsPutIntoIsNeverTheOneEvicted(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxGroups: 1})
	p.Put("a", grouped("x", 0))
	oldest, _ := p.TakeFrom("a", "x", noon, nil)
	p.Put("a", grouped("y", 1))
	p.Put("a", oldest)
	require.Equal(t, []int{1}, *evicted, "though it is the younger")
	require.Equal(t, []int{0}, drained(p, "a"))
}

func TestItemPutBackRegainsItsPlaceInItsGroupAndKey(t *testing.T) {
	for _, from := range []string{"all groups", "x"} {
		filled := func() *cache.Pool[string, int] {
			p, _ := evictions(t, cache.Options[string, int]{MaxPerKey: 3, MaxGroups: 2})
			for v, group := range []string{"x", "y", "x", "y", "x", "y"} {
				p.Put("a", grouped(group, v))
			}
			it, ok := p.Take("a", noon, only(2))
			if from == "x" {
				p.Put("a", it)
				it, ok = p.TakeFrom("a", from, noon, only(2))
			}
			require.True(t, ok)
			p.Put("a", it)
			return p
		}
		require.Equal(t, []int{5, 4, 3, 2, 1, 0}, drained(filled(), "a"), from)
		require.Equal(t, []int{4, 2, 0}, drainedFrom(filled(), "a", "x"), from)
	}
}

func TestItemPutBackIntoAFullGroupMakesRoomItselfIfItIsTheOldest(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxPerKey: 1})
	p.Put("a", grouped("y", 0))
	p.Put("a", grouped("x", 1))
	older, _ := p.TakeFrom("a", "x", noon, nil)
	p.Put("a", grouped("x", 2))
	p.Put("a", older)
	require.Equal(t, []int{1}, *evicted)
	require.Equal(t, []int{2, 0}, drained(p, "a"))
}

func TestBytesMakeAKeyDropItsOldestWhateverItsGroup(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxKeys: 10, MaxBytes: 4})
	for v, group := range []string{"x", "y", "x", "y", "y", "y"} {
		p.Put("a", grouped(group, v))
	}
	require.Equal(t, []int{0, 1}, *evicted, "the key that is put into, alone")
	p.Put("b", grouped("z", 6))
	p.Put("b", grouped("z", 7))
	require.Equal(t, []int{0, 1, 2, 3}, *evicted, "another key")
	require.Equal(t, []int{5, 4}, drained(p, "a"))
}

func TestAllButTakeFromReachEveryGroup(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{})
	for v, group := range []string{"x", "y", "", "x", "y", ""} {
		p.Put("a", grouped(group, v))
	}
	newest, ok := p.Newest("a", nil)
	require.True(t, ok)
	require.Equal(t, 5, newest)
	newest, _ = p.Newest("a", func(v int) bool { return v < 2 })
	require.Equal(t, 1, newest)
	require.True(t, p.Remove("a", func(v int) bool { return v < 5 }), "4, the newest of them")
	require.Equal(t, cache.Usage{Keys: 1, Items: 5, Bytes: 5}, p.Usage())
	require.Equal(t, 3, p.RemoveIf(func(_ string, v int) bool { return v < 3 }))
	require.Equal(t, []int{5, 3}, drained(p, "a"))
	for v, group := range []string{"x", "y", ""} {
		p.Put("a", cache.Item[int]{Value: v, Group: group, Expires: noon})
	}
	require.Equal(t, 3, p.Sweep(noon))
}

func TestTakeAndPutAllocateNothing(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{MaxPerKey: 2, MaxGroups: 4, Dropped: func(string, int, cache.Cause) {}})
	groups := []string{"x", "y", "", "z"}
	round := func() {
		for v := range 8 {
			p.Put("a", grouped(groups[v%4], v))
		}
		for range 4 {
			p.Take("a", noon, func(v int) cache.Verdict { return cache.Verdict(v % 2) }) // odd: take
		}
		for _, group := range groups {
			p.TakeFrom("a", group, noon, nil)
		}
		it, _ := p.TakeFrom("a", "x", noon, nil)
		p.Put("a", it)
	}
	require.Zero(t, testing.AllocsPerRun(100, round))
}

// A new key at the bound gets what the victim had.
func TestEvictionAllocatesNothing(t *testing.T) {
	for _, opts := range []cache.Options[int, int]{{MaxKeys: 10}, {MaxKeys: 2000}, {MaxBytes: 2000}} {
		opts.Dropped = func(int, int, cache.Cause) {}
		p := cache.NewPool(opts)
		key := 0
		put := func() {
			key++
			p.Put(key, item(key))
		}
		for range 5000 {
			put()
		}
		require.Zero(t, testing.AllocsPerRun(1000, put), "%+v", opts)
	}
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
		{MaxKeys: 1}, {MaxKeys: 100}, {MaxKeys: 1024}, {MaxKeys: 3000, MaxBytes: 5000}, {MaxBytes: 999}, {MaxPerKey: 3}, {MaxPerKey: 1, MaxGroups: 3},
	} {
		p := cache.NewPool(bounds)
		random := rand.New(rand.NewPCG(1, 2))
		for range 20_000 {
			group := ""
			if bounds.MaxGroups > 0 {
				group = fmt.Sprint(random.IntN(9))
			}
			p.Put(random.IntN(4000), cache.Item[int]{Group: group, Size: random.Int64N(20)})
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
	p = cache.NewPool(cache.Options[string, int]{})
	p.Put("a", cache.Item[int]{Size: cache.MaxSize})
	p.Put("b", cache.Item[int]{Size: cache.MaxSize + 1})
	require.Equal(t, cache.Usage{Keys: 1, Items: 1, Bytes: cache.MaxSize}, p.Usage())
}

func TestNegativeBoundsPanic(t *testing.T) {
	for _, o := range []cache.Options[string, int]{{MaxGroups: 1 << 16}, {MaxKeys: -1}, {MaxPerKey: -1}, {MaxGroups: -1}, {MaxBytes: -1}} {
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

// Room is made among the others first, wherever the hand stands.
func TestBytesAreTakenFromOthersFirst(t *testing.T) {
	p := cache.NewPool(cache.Options[string, int]{MaxKeys: 9, MaxBytes: 3})
	touch := func(key string) { p.Newest(key, nil) }
	for v, key := range []string{"a", "b", "c"} {
		p.Put(key, item(v))
	}
	touch("a")
	p.Put("c", item(3)) // b makes room, and the hand stands at c
	touch("a")
	p.Put("c", item(4))
	_, ok := p.Take("a", noon, nil)
	require.False(t, ok, "it made room")
	require.Equal(t, []int{4, 3, 2}, []int{taken(t, p, "c"), taken(t, p, "c"), taken(t, p, "c")})
}

// TestEveryValueLeavesOnce puts numbered values from many goroutines and holds
// that each is taken or dropped exactly once, whatever else goes on.
func TestEveryValueLeavesOnce(t *testing.T) {
	groups := [3]string{"", "x", "y"}
	takes := [2]func(*cache.Pool[int, int], int, string) (cache.Item[int], bool){
		func(p *cache.Pool[int, int], key int, _ string) (cache.Item[int], bool) {
			return p.Take(key, noon, nil)
		},
		func(p *cache.Pool[int, int], key int, group string) (cache.Item[int], bool) {
			return p.TakeFrom(key, group, noon, nil)
		},
	}
	for _, maxKeys := range []int{8, 2048} {
		const goroutines, each = 8, 3000
		left := make([]atomic.Int32, goroutines*each)
		p := cache.NewPool(cache.Options[int, int]{
			MaxKeys: maxKeys, MaxPerKey: 2, MaxGroups: 2, MaxBytes: int64(maxKeys) * 3,
			Dropped: func(_, v int, _ cache.Cause) { left[v].Add(1) },
		})
		var group sync.WaitGroup
		for g := range goroutines {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(g), 7))
				for i := range each {
					key := random.IntN(maxKeys * 2)
					expires := noon.Add(time.Duration(random.IntN(9)-1) * time.Hour)
					p.Put(key, cache.Item[int]{Value: g*each + i, Group: groups[i%3], Size: 1, Expires: expires})
					key = random.IntN(maxKeys * 2)
					it, ok := takes[i%2](p, key, groups[random.IntN(3)])
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

// A key that is used once takes no room after its use.
func TestForgottenKeysTakeNoRoom(t *testing.T) {
	var dropped []int
	pool := cache.NewPool(cache.Options[int, int]{
		MaxKeys: 4, MaxPerKey: 1, ForgetEmpty: true,
		Dropped: func(key, _ int, _ cache.Cause) { dropped = append(dropped, key) },
	})
	now := time.Now()
	for key := range 4 {
		pool.Put(key, cache.Item[int]{Value: key})
	}
	for _, key := range []int{1, 3} {
		_, ok := pool.Take(key, now, nil)
		require.True(t, ok)
		_, ok = pool.Take(key, now, nil)
		require.False(t, ok)
	}
	pool.Put(4, cache.Item[int]{Value: 4})
	pool.Put(5, cache.Item[int]{Value: 5, Expires: now})
	require.Empty(t, dropped)
	_, ok := pool.Take(5, now, nil)
	require.False(t, ok)
	require.Equal(t, []int{5}, dropped, "expired, and forgotten with it")
	pool.Put(6, cache.Item[int]{Value: 6})
	require.Equal(t, []int{5}, dropped)
	pool.Put(7, cache.Item[int]{Value: 7})
	require.Equal(t, []int{5, 0}, dropped, "the oldest goes")
	require.True(t, pool.Remove(2, func(int) bool { return true }))
	pool.Put(8, cache.Item[int]{Value: 8})
	require.Equal(t, []int{5, 0, 2}, dropped)
	require.Equal(t, cache.Usage{Keys: 4, Items: 4}, pool.Usage())
}

func TestNoteChangesOnlyFromWhatItWas(t *testing.T) {
	pool := cache.NewPool(cache.Options[string, int]{})
	require.False(t, pool.SwapNote("a", 1, 2))
	require.True(t, pool.SwapNote("a", 0, 0))
	require.True(t, pool.SwapNote("a", 0, 5))
	require.False(t, pool.SwapNote("a", 0, 6))
	require.False(t, pool.SwapNote("a", 6, 7))
	require.EqualValues(t, 5, pool.Note("a"))
	require.True(t, pool.SwapNote("a", 5, 6))
	require.EqualValues(t, 6, pool.Note("a"))
}

// A key that has nothing but a note gives no bytes, and makes none free.
func TestWhoWantsBytesPassesNotesBy(t *testing.T) {
	p, evicted := evictions(t, cache.Options[string, int]{MaxKeys: 9, MaxBytes: 2})
	require.True(t, p.SwapNote("a", 0, 7))
	for v, key := range []string{"b", "c", "d", "e"} {
		p.Put(key, item(v))
	}
	require.Equal(t, []int{0, 1}, *evicted)
	require.EqualValues(t, 7, p.Note("a"))
}

// What is noted of a key outlives its values, and a sweep, but not the key.
func TestNoteStaysWithItsKey(t *testing.T) {
	pool := cache.NewPool(cache.Options[string, int]{MaxKeys: 2})
	require.Zero(t, pool.Note("a"))
	require.True(t, pool.SwapNote("a", 0, 7))
	pool.Put("a", item(1))
	taken(t, pool, "a")
	pool.Sweep(noon)
	pool.RemoveIf(func(string, int) bool { return true })
	require.EqualValues(t, 7, pool.Note("a"))
	require.Zero(t, pool.Usage(), "it has no value")
	pool.Put("b", item(2))
	taken(t, pool, "b")
	pool.Put("c", item(3))
	require.EqualValues(t, 7, pool.Note("a"), "b had nothing to lose")
	pool.Put("d", item(4))
	pool.Put("e", item(5))
	require.Zero(t, pool.Note("a"), "it made room, as it would have with a value")
}

func TestForgottenNotesLetGoOfTheirKeys(t *testing.T) {
	pool := cache.NewPool(cache.Options[string, int]{MaxKeys: 2})
	require.True(t, pool.SwapNote("a", 0, 7))
	require.True(t, pool.SwapNote("b", 0, 8))
	pool.ForgetNotes(func(key string) bool { return key == "a" })
	require.Zero(t, pool.Note("a"))
	pool.Put("c", item(1))
	require.EqualValues(t, 8, pool.Note("b"), "a had let go of its place")
	require.True(t, pool.SwapNote("b", 8, 0))
	pool.Put("d", item(2))
	require.Equal(t, cache.Usage{Keys: 2, Items: 2, Bytes: 2}, pool.Usage())
}

// An item keeps its end to the nanosecond, and one beyond what nanoseconds can
// count is far away.
func TestItemKeepsItsEnd(t *testing.T) {
	pool := cache.NewPool(cache.Options[string, int]{})
	for _, end := range []time.Time{{}, noon.Add(1), time.Date(1700, 1, 1, 0, 0, 0, 1, time.UTC)} {
		pool.Put("a", cache.Item[int]{Expires: end})
		got, ok := pool.Take("a", time.Time{}, nil)
		require.True(t, ok)
		require.True(t, end.Equal(got.Expires), "%v, not %v", end, got.Expires)
	}
	for year, there := range map[int]bool{9999: true, 1500: false} {
		pool.Put("a", cache.Item[int]{Expires: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)})
		_, ok := pool.Take("a", noon, nil)
		require.Equal(t, there, ok, year)
	}
}
