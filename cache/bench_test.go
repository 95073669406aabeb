package cache_test

import (
	"container/list"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// listCache is the standard library's LRU session cache (crypto/tls/common.go)
// with the one change that single use asks for: a hit is removed.
type listCache struct {
	mu       sync.Mutex
	byKey    map[string]*list.Element
	order    *list.List
	capacity int
}

type listEntry struct {
	key   string
	value *int
}

func newListCache(capacity int) *listCache {
	return &listCache{byKey: map[string]*list.Element{}, order: list.New(), capacity: capacity}
}

func (c *listCache) put(key string, v *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		e.Value.(*listEntry).value = v
		c.order.MoveToFront(e)
		return
	}
	if c.order.Len() < c.capacity {
		c.byKey[key] = c.order.PushFront(&listEntry{key, v})
		return
	}
	e := c.order.Back()
	entry := e.Value.(*listEntry)
	delete(c.byKey, entry.key)
	entry.key, entry.value = key, v
	c.order.MoveToFront(e)
	c.byKey[key] = e
}

func (c *listCache) take(key string) (*int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.order.Remove(e)
	delete(c.byKey, key)
	return e.Value.(*listEntry).value, true
}

// poolCache is the pool behind the same two calls.
type poolCache struct {
	pool *cache.Pool[string, *int]
	now  time.Time
	ends time.Time
	pick func(*int) cache.Verdict
}

func newPoolCache(capacity int) *poolCache {
	return &poolCache{
		pool: cache.NewPool(cache.Options[string, *int]{
			MaxKeys: capacity, MaxPerKey: 64, MaxGroups: 64, MaxBytes: 1 << 40,
			Dropped: func(string, *int, cache.Cause) {},
		}),
		now:  time.Now(),
		ends: time.Now().Add(time.Hour),
		pick: func(*int) cache.Verdict { return cache.Take },
	}
}

func (c *poolCache) put(key string, v *int) {
	c.pool.Put(key, cache.Item[*int]{Value: v, Group: "192.0.2.1:443", Size: 2000, Expires: c.ends})
}

func (c *poolCache) take(key string) (*int, bool) {
	item, ok := c.pool.Take(key, c.now, c.pick)
	return item.Value, ok
}

type benchCache interface {
	put(string, *int)
	take(string) (*int, bool)
}

// pass runs pairs of take and put on 8 goroutines and returns the time of one.
func pass(c benchCache, keys []string, pairs int) time.Duration {
	const goroutines = 8
	value := new(int)
	var start, done sync.WaitGroup
	start.Add(1)
	for g := range goroutines {
		done.Go(func() {
			x := uint64(g)*0x9e3779b97f4a7c15 + 1
			start.Wait()
			for range pairs / goroutines {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				key := keys[x%uint64(len(keys))]
				c.take(key)
				c.put(key, value)
			}
		})
	}
	began := time.Now()
	start.Done()
	done.Wait()
	return time.Since(began)
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("server-%07d.example.com", i)
	}
	return keys
}

// BenchmarkAgainstList prints how many times faster the pool is than a mutex
// and a list, from passes of both in turn within one run: the ratio is the
// median of the pairs. "evicting" gives both room for half of the keys.
func BenchmarkAgainstList(b *testing.B) {
	for _, size := range []int{10_000, 1_000_000} {
		for _, evicting := range []bool{false, true} {
			name, capacity := fmt.Sprintf("keys=%d", size), size
			if evicting {
				name, capacity = name+"/evicting", size/2
			}
			b.Run(name, func(b *testing.B) { againstList(b, size, capacity) })
		}
	}
}

func againstList(b *testing.B, size, capacity int) {
	keys := benchKeys(size)
	pool, plain := newPoolCache(capacity), newListCache(capacity)
	for _, key := range keys {
		v := new(int)
		pool.put(key, v)
		plain.put(key, v)
	}
	pairs := 2 * size
	pairs = max(pairs, 400_000)
	const rounds = 7
	var ratios []float64
	var poolTime time.Duration
	for b.Loop() {
		ratios, poolTime = ratios[:0], 0
		for range rounds {
			a := pass(pool, keys, pairs)
			ratios = append(ratios, float64(pass(plain, keys, pairs))/float64(a))
			poolTime += a
		}
	}
	b.ReportMetric(median(ratios), "x-list")
	b.ReportMetric(float64(poolTime.Nanoseconds())/float64(rounds*pairs), "ns/take+put")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTakePut is one pair of calls, for the allocation count.
func BenchmarkTakePut(b *testing.B) {
	keys := benchKeys(10_000)
	c := newPoolCache(20_000)
	value := new(int)
	for _, key := range keys {
		c.put(key, value)
	}
	var n atomic.Uint64
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		x := n.Add(1) * 0x9e3779b97f4a7c15
		for pb.Next() {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			key := keys[x%uint64(len(keys))]
			c.take(key)
			c.put(key, value)
		}
	})
}

// BenchmarkTakeFromPut is one pair of calls on one key with many groups of many
// values, each of which it scans.
func BenchmarkTakeFromPut(b *testing.B) {
	for _, bounds := range []struct{ groups, values int }{{1, 4}, {4, 4}, {16, 4}, {64, 8}} {
		b.Run(fmt.Sprintf("groups=%d/values=%d", bounds.groups, bounds.values), func(b *testing.B) {
			p := cache.NewPool(cache.Options[string, *int]{MaxPerKey: bounds.values, MaxGroups: bounds.groups})
			var groups []string
			for g := range bounds.groups {
				groups = append(groups, fmt.Sprintf("192.0.2.%03d:443", g))
			}
			for i := range bounds.groups * bounds.values {
				p.Put("server", cache.Item[*int]{Group: groups[i%bounds.groups]})
			}
			b.ReportAllocs()
			var i int
			for b.Loop() {
				group := groups[i%bounds.groups]
				p.TakeFrom("server", group, noon, nil)
				p.Put("server", cache.Item[*int]{Group: group})
				i += 7
			}
		})
	}
}

func median(x []float64) float64 {
	for i := range x {
		for j := i; j > 0 && x[j] < x[j-1]; j-- {
			x[j], x[j-1] = x[j-1], x[j]
		}
	}
	return x[len(x)/2]
}
