// Package arms holds what the pool is measured against: the structures that
// people would keep their sessions in, each behind the same two calls.
package arms

import (
	"container/list"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/tlsresume/tlsresume/cache"
)

// A Cache keeps at most one value under a key, and gives it out once.
type Cache interface {
	Put(key string, value *int)
	Take(key string) (*int, bool)
}

// All makes one of each by name. Each has room for so many keys.
var All = []struct {
	Name string
	New  func(capacity int) Cache
}{
	{List, NewList},
	{Pool, NewPool},
	{Otter, NewOtter},
	{"golang-lru", NewGolangLRU},
	{"naive", NewNaive},
}

// The arms that others are compared with.
const (
	List  = "list"
	Pool  = "pool"
	Otter = "otter"
)

// A listCache has the structure of the standard library's session cache: a
// mutex, a map and a list in the order of use, whose last element is used again
// for the next key. Single use adds that a hit is removed.
type listCache struct {
	mu       sync.Mutex // guards the rest
	elements map[string]*list.Element
	order    *list.List // of listEntry, the last used in front
	capacity int
}

type listEntry struct {
	key   string
	value *int
}

// NewList makes a listCache.
func NewList(capacity int) Cache {
	return &listCache{elements: make(map[string]*list.Element), order: list.New(), capacity: capacity}
}

func (c *listCache) Put(key string, value *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.elements[key]; ok {
		element.Value.(*listEntry).value = value
		c.order.MoveToFront(element)
		return
	}
	if c.order.Len() < c.capacity {
		c.elements[key] = c.order.PushFront(&listEntry{key, value})
		return
	}
	last := c.order.Back()
	entry := last.Value.(*listEntry)
	delete(c.elements, entry.key)
	entry.key, entry.value = key, value
	c.order.MoveToFront(last)
	c.elements[key] = last
}

func (c *listCache) Take(key string) (*int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.elements[key]
	if !ok {
		return nil, false
	}
	c.order.Remove(element)
	delete(c.elements, key)
	return element.Value.(*listEntry).value, true
}

// A naiveCache is what one writes first: a mutex and a map. At its bound it
// forgets whichever key the map gives.
type naiveCache struct {
	mu       sync.Mutex // guards values
	values   map[string]*int
	capacity int
}

// NewNaive makes a naiveCache.
func NewNaive(capacity int) Cache {
	return &naiveCache{values: make(map[string]*int), capacity: capacity}
}

func (c *naiveCache) Put(key string, value *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.values[key]; !ok && len(c.values) >= c.capacity {
		for any := range c.values {
			delete(c.values, any)
			break
		}
	}
	c.values[key] = value
}

func (c *naiveCache) Take(key string) (*int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.values[key]
	delete(c.values, key)
	return value, ok
}

// A golangLRU has no call that takes: of two callers who get one value, both
// may remove, one of them what was put meanwhile. It is measured as it is.
type golangLRU struct{ cache *lru.Cache[string, *int] }

// NewGolangLRU makes a cache of golang-lru v2.
func NewGolangLRU(capacity int) Cache {
	cache, err := lru.New[string, *int](capacity)
	if err != nil {
		panic(err) // the capacity is not positive
	}
	return golangLRU{cache}
}

func (c golangLRU) Put(key string, value *int) { c.cache.Add(key, value) }

func (c golangLRU) Take(key string) (*int, bool) {
	value, ok := c.cache.Get(key)
	return value, ok && c.cache.Remove(key)
}

type otterCache struct {
	cache *otter.Cache[string, *int]
}

// NewOtter makes a cache of otter v2.
func NewOtter(capacity int) Cache {
	return otterCache{otter.Must(&otter.Options[string, *int]{MaximumSize: capacity})}
}

func (c otterCache) Put(key string, value *int) { c.cache.Set(key, value) }

func (c otterCache) Take(key string) (*int, bool) { return c.cache.Invalidate(key) }

// A poolCache is cache.Pool with everything that resume asks of it: bounds,
// groups, sizes, expiry, a pick function, and to be told of drops.
type poolCache struct {
	pool    *cache.Pool[string, *int]
	now     time.Time
	expires time.Time
	pick    func(*int) cache.Verdict
}

// NewPool makes a cache.Pool.
func NewPool(capacity int) Cache {
	now := time.Now()
	return &poolCache{
		pool: cache.NewPool(cache.Options[string, *int]{
			MaxKeys: capacity, MaxPerKey: 64, MaxGroups: 64, MaxBytes: 1 << 40,
			Dropped: func(string, *int, cache.Cause) {},
		}),
		now:     now,
		expires: now.Add(time.Hour),
		pick:    func(*int) cache.Verdict { return cache.Take },
	}
}

func (c *poolCache) Put(key string, value *int) {
	c.pool.Put(key, cache.Item[*int]{Value: value, Group: "192.0.2.1:443", Size: 2000, Expires: c.expires})
}

func (c *poolCache) Take(key string) (*int, bool) {
	item, ok := c.pool.Take(key, c.now, c.pick)
	return item.Value, ok
}
