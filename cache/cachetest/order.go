package cachetest

import (
	"context"
	"errors"
	"slices"

	"github.com/tlsresume/tlsresume/cache"
)

func nothingIsAMiss(c *check) {
	s := c.newStore()
	entries, err := s.Take(background, "k", 1)
	if !errors.Is(err, cache.ErrMiss) || len(entries) > 0 {
		c.Errorf("Take of nothing: %v, %v, want ErrMiss", entries, err)
	}
	if c.delete(s, "k", "a") {
		c.Errorf("Delete of what was never put is true")
	}
	if err := s.Clear(background); err != nil {
		c.Errorf("Clear of nothing: %v", err)
	}
}

func takeReturnsWhatWasPut(c *check) {
	s := c.newStore()
	c.put(s, "k", sample("a"))
	c.holds(s, "k", "a")
}

// The newest ticket is the one that the server will know the longest.
func lastPutComesFirst(c *check) {
	s := c.newStore()
	entries := numbered("e", 20)
	for _, e := range entries {
		c.put(s, "k", e)
	}
	c.holds(s, "k", backwards(idsOf(entries))...)

	c.put(s, "k", samples("a", "b")...)
	c.take(s, "k", 1)
	c.put(s, "k", sample("c"))
	c.holds(s, "k", "c", "a")
}

func lastOfOnePutComesFirst(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b", "c")...)
	c.put(s, "k", samples("d", "e")...)
	c.holds(s, "k", "e", "d", "c", "b", "a")
}

func takeReturnsAtMostMax(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b", "c", "d", "e")...)
	c.same(idsOf(c.take(s, "k", 2)), []string{"e", "d"}, "Take of at most 2")
	c.same(idsOf(c.take(s, "k", 9)), []string{"c", "b", "a"}, "Take of at most 9 with 3 there")
	c.holds(s, "k")
}

// A miss for max 0 would look like an empty store to whoever computed it wrong.
func maxBelowOneIsAnError(c *check) {
	s := c.newStore()
	c.put(s, "k", sample("a"))
	for _, max := range []int{0, -1} {
		entries, err := s.Take(background, "k", max)
		if err == nil || errors.Is(err, cache.ErrMiss) || len(entries) > 0 {
			c.Errorf("Take of at most %d: %v, %v, want an error that is no miss", max, entries, err)
		}
	}
	c.holds(s, "k", "a")
}

// An ID that was taken is free: a store that remembers it as used would refuse
// what is put under it later.
func takenIsGone(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b")...)
	c.take(s, "k", 1)
	if c.delete(s, "k", "b") {
		c.Errorf("Delete of a taken entry is true")
	}
	c.holds(s, "k", "a")
	c.put(s, "k", sample("b"))
	c.holds(s, "k", "b")
}

func putOfNothingIsNothing(c *check) {
	s := c.newStore()
	c.put(s, "k")
	c.holds(s, "k")
}

// putReplacesTheID looks for the value, the place and the number: a store may
// keep both, keep the old one, or put the new one where the old one was.
func putReplacesTheID(c *check) {
	old := cache.Entry{ID: "a", Value: []byte("old")}
	s := c.newStore()
	c.put(s, "k", old, sample("b"))
	c.put(s, "other", sample("a"))
	c.put(s, "k", sample("a"))
	c.holds(s, "k", "a", "b")

	c.put(s, "k", old, sample("b"), sample("a"))
	c.same(idsOf(c.take(s, "k", 9)), []string{"a", "b"}, "an ID twice in one Put")
	c.put(s, "k", old)
	c.put(s, "k", sample("a"))
	c.delete(s, "k", "a")
	c.holds(s, "k")
	c.holds(s, "other", "a")
}

func deleteIsTrueForWhatIsThere(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b", "c")...)
	c.put(s, "other", sample("b"))
	for _, step := range []struct {
		key, id string
		want    bool
	}{{"k", "b", true}, {"k", "b", false}, {"k", "d", false}, {"none", "a", false}} {
		if got := c.delete(s, step.key, step.id); got != step.want {
			c.Errorf("Delete(%q, %q) = %v, want %v", step.key, step.id, got, step.want)
		}
	}
	c.holds(s, "k", "c", "a")
	c.holds(s, "other", "b")
}

// The empty key is one like any other, and the store outlives its Clear.
func clearRemovesEverything(c *check) {
	s := c.newStore()
	for _, key := range []string{"k", "l", ""} {
		c.put(s, key, samples("a", "b")...)
	}
	if err := s.Clear(background); err != nil {
		c.Fatalf("Clear: %v", err)
	}
	for _, key := range []string{"k", "l", ""} {
		c.holds(s, key)
	}
	c.put(s, "k", sample("c"))
	c.holds(s, "k", "c")
}

// valuesAreNotShared writes over what it has put and what it has taken: a store
// in memory must have copied the one and must have forgotten the other.
func valuesAreNotShared(c *check) {
	s := c.newStore()
	value := []byte("value of a")
	c.put(s, "k", cache.Entry{ID: "a", Value: value}, sample("b"))
	clear(value)
	taken := c.take(s, "k", 1)
	for _, e := range taken {
		clear(e.Value[:cap(e.Value)])
	}
	c.holds(s, "k", "a")
}

// doneContextChangesNothing looks afterwards: an entry that a refused Take or
// Clear has removed is lost without anybody having had it.
func doneContextChangesNothing(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b")...)
	done, cancel := context.WithCancel(background)
	cancel()
	_, takeErr := s.Take(done, "k", 1)
	_, deleteErr := s.Delete(done, "k", "a")
	for _, call := range []struct {
		name string
		err  error
	}{
		{"Put", s.Put(done, "k", sample("c"))},
		{"Take", takeErr},
		{"Delete", deleteErr},
		{"Clear", s.Clear(done)},
	} {
		if !errors.Is(call.err, context.Canceled) {
			c.Errorf("%s with a cancelled context: %v, want context.Canceled", call.name, call.err)
		}
	}
	c.holds(s, "k", "b", "a")
}

func maxPerKeyDropsTheOldest(c *check) {
	if c.maxPerKey == 0 {
		c.Skip("Options.MaxPerKey is not set")
	}
	s := c.newStore()
	one, many := numbered("one", c.maxPerKey+3), numbered("many", c.maxPerKey+3)
	for _, e := range one {
		c.put(s, "one", e)
	}
	c.put(s, "many", many...)
	c.holds(s, "one", backwards(idsOf(one[3:]))...)
	c.holds(s, "many", backwards(idsOf(many[3:]))...)

	// A replaced entry makes room for its successor.
	full := numbered("e", c.maxPerKey)
	c.put(s, "full", full...)
	c.put(s, "full", full[1])
	c.holds(s, "full", backwards(idsOf(append(slices.Delete(slices.Clone(full), 1, 2), full[1])))...)
}
