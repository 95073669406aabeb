package cachetest

import (
	"context"
	"errors"
	"slices"

	"github.com/tlsresume/tlsresume/cache"
)

// nothingIsAMiss is a store as it begins. A miss has an error of its own, so
// that a caller who asks only for errors does not take it for an entry; Delete
// and Clear of nothing have none, as nothing went wrong.
//
// "At least one, or ErrMiss when there is none" (Store.Take).
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

// takeReturnsWhatWasPut is the least that a store does. If it fails, look at
// nothing else.
func takeReturnsWhatWasPut(c *check) {
	s := c.newStore()
	c.put(s, "k", sample("a"))
	c.holds(s, "k", "a")
}

// lastPutComesFirst because the newest ticket is the one that the server will
// know the longest. What is left under a key keeps its order when more is put.
//
// "Within a key the last put comes first" (Order).
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

// lastOfOnePutComesFirst: a batch is no unit with a time of its own, which
// would leave the order within it to chance.
//
// "Within one Put the last of its entries is the newest" (Order).
func lastOfOnePutComesFirst(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b", "c")...)
	c.put(s, "k", samples("d", "e")...)
	c.holds(s, "k", "e", "d", "c", "b", "a")
}

// takeReturnsAtMostMax because what is above it would be nobody's: a caller
// asks for as many as it has connections waiting. With fewer there it gets
// those.
//
// "Take removes up to max entries of the key and returns them, the newest
// first" (Store.Take).
func takeReturnsAtMostMax(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b", "c", "d", "e")...)
	c.same(idsOf(c.take(s, "k", 2)), []string{"e", "d"}, "Take of at most 2")
	c.same(idsOf(c.take(s, "k", 9)), []string{"c", "b", "a"}, "Take of at most 9 with 3 there")
	c.holds(s, "k")
}

// maxBelowOneIsAnError: a miss for max 0 would look like an empty store to
// whoever computed it wrong.
//
// "A max below 1 is an error" (Store.Take).
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

// takenIsGone for Delete as well. But its ID is free: a store that remembers it
// as used would refuse what is put under it later.
//
// "A store removes an entry before it hands it out" (At most once).
func takenIsGone(c *check) {
	s := c.newStore()
	c.put(s, "k", samples("a", "b")...)
	c.take(s, "k", 1)
	if c.delete(s, "k", "b") {
		c.Errorf("Delete of a taken entry is true")
	}
	c.holds(s, "k", "a") // b did not come back with the Delete
	c.put(s, "k", sample("b"))
	c.holds(s, "k", "b")
}

// putOfNothingIsNothing: a key without entries is one that was never there.
//
// "Without entries it does nothing" (Store.Put).
func putOfNothingIsNothing(c *check) {
	s := c.newStore()
	c.put(s, "k")
	c.holds(s, "k")
}

// putReplacesTheID looks for the value, the place and the number: a store may
// keep both, keep the old one, or put the new one where the old one was.
//
// "Putting an ID that is there replaces its entry, as if it had been deleted
// before" (Identity).
func putReplacesTheID(c *check) {
	old := cache.Entry{ID: "a", Value: []byte("old")}
	s := c.newStore()
	c.put(s, "k", old, sample("b"))
	c.put(s, "other", sample("a")) // the same ID elsewhere is another entry
	c.put(s, "k", sample("a"))
	c.holds(s, "k", "a", "b")

	// Within one Put the last of an ID counts. A store that looks for what it
	// replaces before it puts any has both.
	c.put(s, "k", old, sample("b"), sample("a"))
	c.same(idsOf(c.take(s, "k", 9)), []string{"a", "b"}, "an ID twice in one Put")
	// Delete removes what replaced it, and nothing older appears below.
	c.put(s, "k", old)
	c.put(s, "k", sample("a"))
	c.delete(s, "k", "a")
	c.holds(s, "k")
	c.holds(s, "other", "a")
}

// deleteIsTrueForWhatIsThere, once, under its own key, wherever in the order it
// stands. What Delete says decides who may use a ticket: a store that always
// says true lets two use it, and one that never does wastes it.
//
// "Delete removes an entry and reports whether it was there" (Store.Delete).
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

// clearRemovesEverything, under the empty key as well, which is one like any
// other. The store outlives its Clear.
//
// "Clear removes everything in the store's namespace" (Store.Clear).
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
//
// "Put keeps no reference to a value, and what Take returns is the caller's"
// (Bytes).
func valuesAreNotShared(c *check) {
	s := c.newStore()
	value := []byte("value of a")
	c.put(s, "k", cache.Entry{ID: "a", Value: value}, sample("b"))
	clear(value)
	taken := c.take(s, "k", 1)
	for _, e := range taken {
		clear(e.Value[:cap(e.Value)]) // and what lies behind it in one buffer
	}
	c.holds(s, "k", "a")
}

// doneContextChangesNothing looks afterwards: an entry that a refused Take or
// Clear has removed is lost without anybody having had it.
//
// "A context that is done when a method is called makes it return the context's
// error and change nothing" (Contexts).
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

// maxPerKeyDropsTheOldest whether they come one by one or all at once: a store
// that trims before it puts keeps too many, and one that refuses what is above
// the bound keeps the oldest.
//
// "It then drops the oldest first, and says what its bounds are" (Bounds).
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
