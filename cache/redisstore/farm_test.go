package redisstore_test

import (
	"errors"
	"fmt"
	"sync"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// A farm is many workers on a store, and what they had.
type farm struct {
	store *redisstore.Store
	keys  int

	mu     sync.Mutex // guards the rest
	had    map[string]int
	failed int
	next   int
}

func newFarm(store *redisstore.Store) *farm {
	return &farm{store: store, keys: 8, had: make(map[string]int)}
}

func (f *farm) key(n int) string { return fmt.Sprint("key", n%f.keys) }

// put puts n entries, each under the next key.
func (f *farm) put(n int) {
	for range n {
		f.mu.Lock()
		f.next++
		id := f.next
		f.mu.Unlock()
		err := f.store.Put(background, f.key(id), entry(fmt.Sprint(id)))
		f.note(nil, err)
	}
}

// take takes until it has had n.
func (f *farm) take(n int) {
	for i := 0; n > 0; i++ {
		entries, err := f.store.Take(background, f.key(i), 1)
		f.note(entries, err)
		if n -= len(entries); len(entries) == 0 {
			f.put(1)
		}
	}
}

func (f *farm) note(entries []cache.Entry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		f.had[e.ID]++
	}
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		f.failed++
	}
}

// twice is how many entries were had twice.
func (f *farm) twice() (twice int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.had {
		if n > 1 {
			twice++
		}
	}
	return twice
}

// work has n workers take each so many.
func (f *farm) work(n, each int) *sync.WaitGroup {
	var all sync.WaitGroup
	for range n {
		all.Go(func() { f.take(each) })
	}
	return &all
}
