package cachetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// opened is a store and another on the same entries. Both stay in use, as those
// of two processes do; this is not about a restart alone.
func (c *check) opened() (first, second cache.Store) {
	c.Helper()
	if c.reopen == nil {
		c.Skip("Options.Reopen is not set")
	}
	first = c.newStore()
	return first, c.reopen(first)
}

// reopenedKeepsEntriesAndOrder puts through one opening and takes through
// another: the order is that of the puts, whoever made them. A store that
// counts its puts in memory would begin anew in each process, and one that
// keeps entries there until it is closed has nothing to show to the other.
//
// "A Store is memory outside the process" (Store).
func reopenedKeepsEntriesAndOrder(c *check) {
	first, second := c.opened()
	c.put(first, "k", samples("a", "b", "c")...)
	c.put(first, "\x00", sample("z"))
	c.take(first, "k", 1)
	c.put(second, "k", sample("d"))
	c.put(first, "k", sample("e"))
	c.put(second, "k", sample("a")) // replaces what the other has put
	c.same(idsOf(c.take(first, "k", 1)), []string{"a"}, "put by the other")
	// One that opens only now finds it all, and what it takes is gone for the
	// others, whatever they have remembered.
	third := c.reopen(second)
	c.holds(third, "k", "e", "d", "b")
	c.holds(first, "k")
	c.holds(second, "\x00", "z")
}

// reopenedSharesAtMostOnce is eachEntryIsTakenOnce over several openings: a
// lock in the process keeps their goroutines apart, but not these.
//
// "In all goroutines, processes and machines that share the store" (At most
// once).
func reopenedSharesAtMostOnce(c *check) {
	first, second := c.opened()
	stores := []cache.Store{first, second, c.reopen(first)}
	for round := range rounds {
		entries := numbered(fmt.Sprintf("r%d-", round), 32)
		c.put(stores[round%len(stores)], "k", entries...)
		var had tally
		together(takers, func(i int) { c.takeInto(&had, stores[i%len(stores)], "k", 1+i%3) })
		c.takeInto(&had, first, "k", 1)
		had.exactly(c, entries)
	}
}

// lister is a store and its List, or the end of the law.
func (c *check) lister() (cache.Store, cache.Lister) {
	c.Helper()
	s := c.newStore()
	l, ok := s.(cache.Lister)
	if !ok {
		c.Skip("the store is no cache.Lister")
	}
	return s, l
}

// list returns what List shows, as one line per entry, sorted.
func (c *check) list(l cache.Lister) (lines []string) {
	c.Helper()
	for entry, err := range l.List(background) {
		if err != nil {
			c.Fatalf("List: %v", err)
		}
		lines = append(lines, line(entry))
	}
	slices.Sort(lines)
	return lines
}

// line is all that a Lister says of an entry.
func line(l cache.Listed) string {
	at := "never"
	if !l.Expires.IsZero() {
		at = fmt.Sprint(l.Expires.UnixNano())
	}
	return fmt.Sprintf("%q %q %d %s", l.Key, l.ID, l.Size, at)
}

// listShowsWhatIsThere uses keys and IDs of any bytes: a store that hashes or
// encodes them must give them back as they were. What has gone is gone from the
// list, and what replaces an entry shows once.
//
// "List ranges over all entries that are there, without their values" (Lister).
func listShowsWhatIsThere(c *check) {
	s, l := c.lister()
	c.same(c.list(l), nil, "list of nothing")
	now := time.Now()
	var want []string
	for _, key := range names() {
		e := expiring("\xff/"+key, now.Add(time.Hour))
		c.put(s, key, sample("a"), e, expiring("expired", now))
		want = append(want, line(cache.Listed{Key: key, ID: "a", Size: len(sample("a").Value)}),
			line(cache.Listed{Key: key, ID: e.ID, Size: len(e.Value), Expires: e.Expires.Truncate(time.Millisecond)}))
	}
	slices.Sort(want)
	c.same(c.list(l), want, "list")

	// One replaced, one deleted and two taken.
	c.put(s, "b", sample("a"))
	c.delete(s, "a", "a")
	c.take(s, "", 9)
	if got := c.list(l); len(got) != len(want)-3 {
		c.Errorf("List shows %d entries after 3 have gone and 1 was replaced, want %d", len(got), len(want)-3)
	}
}

// listTakesNothing lists twice: a store that lists by taking has nothing left
// to show, or to hand out.
//
// "Taking none" (Lister).
func listTakesNothing(c *check) {
	s, l := c.lister()
	c.put(s, "k", samples("a", "b")...)
	c.list(l)
	c.list(l)
	c.holds(s, "k", "b", "a")
}

// listStopsWhenTold is told by the loop, which may end at any entry, and by the
// context, whose error must come: an end without one would say that this was
// all, and whoever clears by the list would leave the rest.
//
// "An error comes last, with a zero Listed" (Lister).
func listStopsWhenTold(c *check) {
	s, l := c.lister()
	for _, key := range []string{"k", "l", "m"} {
		c.put(s, key, samples("a", "b", "c")...)
	}
	n := 0
	for range l.List(background) { // an iterator that goes on panics
		if n++; n == 2 {
			break
		}
	}
	done, cancel := context.WithCancel(background)
	cancel()
	var last error
	for _, err := range l.List(done) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		c.Errorf("List with a cancelled context ends with %v, want context.Canceled", last)
	}
}
