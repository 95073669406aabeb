package cachetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// A check is one law held against one kind of store. It is written over
// testing.TB so that this package's own tests can watch it fail.
//
// Its methods end the law at the first surprise where the rest would only
// repeat it, and must then run in the goroutine of the test; what runs in
// others uses the store itself and Errorf.
type check struct {
	testing.TB
	newStore  func() cache.Store
	reopen    func(cache.Store) cache.Store // nil: cannot
	maxPerKey int                           // 0: unknown
}

// enough is more than any law puts under a key: a store that still hands out
// after so many takes never ends.
const enough = 1000

// background has no end. That it has none is a case of its own: stores may take
// a shorter way when there is nothing to wait for. Laws about contexts make
// theirs.
var background = context.Background()

// sample is an entry whose value tells where it belongs.
func sample(id string) cache.Entry {
	return cache.Entry{ID: id, Value: []byte("value of " + id)}
}

// samples are one for each ID, the oldest first.
func samples(ids ...string) (entries []cache.Entry) {
	for _, id := range ids {
		entries = append(entries, sample(id))
	}
	return entries
}

// numbered are n samples; their IDs sort as they are put.
func numbered(prefix string, n int) (entries []cache.Entry) {
	for i := range n {
		entries = append(entries, sample(fmt.Sprintf("%s%03d", prefix, i)))
	}
	return entries
}

// idsOf is never nil, so that it equals an empty list.
func idsOf(entries []cache.Entry) []string {
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

// backwards turns the order of puts into that of takes.
func backwards(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}

// put fails the law at once if it cannot: whatever follows would test nothing.
func (c *check) put(s cache.Store, key string, entries ...cache.Entry) {
	c.Helper()
	if err := s.Put(background, key, entries...); err != nil {
		c.Fatalf("Put under %s: %v", short(key), err)
	}
}

// take returns nothing for a miss. What each Take must keep to is looked at
// each time, whatever the law is about: entries or an error, never both and
// never neither, and no more than were wanted.
func (c *check) take(s cache.Store, key string, max int) []cache.Entry {
	c.Helper()
	entries, err := s.Take(background, key, max)
	switch {
	case err == nil && len(entries) == 0:
		c.Fatalf("Take under %s: neither entries nor an error, want ErrMiss", short(key))
	case err != nil && len(entries) > 0:
		c.Fatalf("Take under %s: %d entries and the error %v, want either", short(key), len(entries), err)
	case err != nil && !errors.Is(err, cache.ErrMiss):
		c.Fatalf("Take under %s: %v", short(key), err)
	case len(entries) > max:
		c.Fatalf("Take under %s: %d entries, at most %d were wanted", short(key), len(entries), max)
	}
	return entries
}

// drain takes one at a time until there is none. Several at a time might hide
// that a store orders only what it hands out at once.
func (c *check) drain(s cache.Store, key string) (entries []cache.Entry) {
	c.Helper()
	for range enough {
		one := c.take(s, key, 1)
		if one == nil {
			return entries
		}
		entries = append(entries, one...)
	}
	c.Fatalf("after %d takes there is still something under %s", enough, short(key))
	return nil
}

// delete fails the law at once for an error: false alone means that it was not
// there.
func (c *check) delete(s cache.Store, key, id string) bool {
	c.Helper()
	was, err := s.Delete(background, key, id)
	if err != nil {
		c.Fatalf("Delete of %s under %s: %v", short(id), short(key), err)
	}
	return was
}

// holds fails unless the key has exactly these IDs, the newest first, each with
// the value of its sample. It takes them.
func (c *check) holds(s cache.Store, key string, ids ...string) {
	c.Helper()
	got := c.drain(s, key)
	c.same(idsOf(got), ids, "IDs under "+short(key)+", newest first")
	for _, e := range got {
		if want := sample(e.ID).Value; string(e.Value) != string(want) {
			c.Errorf("value of %s is %s, want %s", short(e.ID), short(string(e.Value)), short(string(want)))
		}
	}
}

// same compares lists of names and says what they are of.
func (c *check) same(got, want []string, what string) {
	c.Helper()
	if !slices.Equal(got, want) {
		c.Errorf("%s: got %s, want %s", what, shorts(got), shorts(want))
	}
}

// pastMillisecond waits until t is over for a store that counts milliseconds,
// and for one whose clock is another machine's: within a millisecond or so.
// It is the only wait here. A store may be a server, which no test's clock
// reaches.
func pastMillisecond(t time.Time) { time.Sleep(time.Until(t) + 2*time.Millisecond) }

// short quotes, and cuts what would fill the screen.
func short(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%q... (%d bytes)", s[:32], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// shorts is short of each.
func shorts(list []string) string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, short(s))
	}
	return fmt.Sprint(out)
}
