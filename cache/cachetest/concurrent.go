package cachetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tlsresume/tlsresume/cache"
)

// A tally counts who had which entry. Two values under one ID are two entries:
// the second has replaced the first, and each may be had once.
type tally struct {
	mu  sync.Mutex     // guards had
	had map[string]int // by ID and value
}

// add notes that somebody had an entry, whom it now belongs to.
func (t *tally) add(id string, value []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.had == nil {
		t.had = make(map[string]int)
	}
	t.had[id+" "+string(value)]++
}

// exactly fails unless each of the entries was had once, and nothing else. It
// runs when the race is over. That none is missing counts as well: at most once
// alone would be kept by a store that hands out nothing.
func (t *tally) exactly(c *check, entries []cache.Entry) {
	c.Helper()
	for _, e := range entries {
		key := e.ID + " " + string(e.Value)
		if n := t.had[key]; n != 1 {
			c.Errorf("entry %q was had %d times, want once", e.ID, n)
		}
		delete(t.had, key)
	}
	for key := range t.had {
		c.Errorf("%q was had and never put", key)
	}
}

// together runs n goroutines that begin at the same moment, and waits. Started
// one after the other, the first would often be done before the last begins.
func together(n int, do func(i int)) {
	var begin, done sync.WaitGroup
	begin.Add(1)
	for i := range n {
		done.Go(func() {
			begin.Wait()
			do(i)
		})
	}
	begin.Done()
	done.Wait()
}

// takeInto is for goroutines, which must not end the test: it takes until there
// is none and tallies.
func (c *check) takeInto(t *tally, s cache.Store, key string, max int) {
	for range enough { // a store that never removes would keep it here
		entries, err := s.Take(background, key, max)
		if err != nil {
			if !errors.Is(err, cache.ErrMiss) {
				c.Errorf("Take among others: %v", err)
			}
			return
		}
		for _, e := range entries {
			t.add(e.ID, e.Value)
		}
	}
}

// rounds repeats a race, and takers is how many race: enough for a store that
// looks and removes in two steps to be caught. A race is a matter of luck, and
// these make it unlikely to be missed; they cannot prove that there is none.
const (
	rounds = 20
	takers = 8
)

// eachEntryIsTakenOnce is what a Store is for: connections that offer the same
// ticket can be linked by everybody who looks on (RFC 8446, Appendix C.4). Each
// takes another number at a time, so that batches overlap.
//
// "An entry goes to one" (At most once).
func eachEntryIsTakenOnce(c *check) {
	s := c.newStore()
	for round := range rounds {
		entries := numbered(fmt.Sprintf("r%d-", round), 32)
		c.put(s, "k", entries...)
		var had tally
		together(takers, func(i int) { c.takeInto(&had, s, "k", 1+i%3) })
		c.takeInto(&had, s, "k", 1) // who lost every race may have left some
		had.exactly(c, entries)
	}
}

// eachEntryIsDeletedOnce has all delete the same in the same order, so that
// they meet at every entry: of all who hold a session, the one who hears true
// may use it.
//
// "A single Delete says true" (At most once).
func eachEntryIsDeletedOnce(c *check) {
	s := c.newStore()
	for round := range rounds {
		entries := numbered(fmt.Sprintf("r%d-", round), 16)
		c.put(s, "k", entries...)
		var had tally
		together(takers, func(int) {
			for _, e := range entries {
				if was, err := s.Delete(background, "k", e.ID); err != nil {
					c.Errorf("Delete among others: %v", err)
				} else if was {
					had.add(e.ID, e.Value)
				}
			}
		})
		had.exactly(c, entries)
	}
}

// Half of them take and half delete, each in an order of its own, so that they
// meet at all ages. To delete is to have: it means that nobody will offer it.
//
// "Either a single Take returns it or a single Delete says true" (At most
// once).
func eachEntryIsTakenOrDeleted(c *check) {
	s := c.newStore()
	for round := range rounds {
		entries := numbered(fmt.Sprintf("r%d-", round), 32)
		c.put(s, "k", entries...)
		var had tally
		together(takers, func(i int) {
			if i%2 == 0 {
				c.takeInto(&had, s, "k", 2)
				return
			}
			for j := range entries {
				e := entries[(j+i*7)%len(entries)]
				if was, err := s.Delete(background, "k", e.ID); err == nil && was {
					had.add(e.ID, e.Value)
				}
			}
		})
		had.exactly(c, entries)
	}
}

// putsAmongTakesLoseNothing lets each goroutine take one for one that it put,
// mostly another's. The key never has many more entries than there are
// goroutines, so that no bound explains a loss.
//
// "All methods are safe for concurrent use" (Store).
func putsAmongTakesLoseNothing(c *check) {
	s := c.newStore()
	var had tally
	var all []cache.Entry
	for i := range takers {
		all = append(all, numbered(fmt.Sprintf("p%d-", i), 100)...)
	}
	together(takers, func(i int) {
		// One out for one in. A miss is in order, as another may have had it;
		// what is left over is taken in the end.
		for _, e := range all[i*100 : (i+1)*100] {
			if err := s.Put(background, "k", e); err != nil {
				c.Errorf("Put among others: %v", err)
			}
			entries, err := s.Take(background, "k", 1)
			if err != nil && !errors.Is(err, cache.ErrMiss) {
				c.Errorf("Take among others: %v", err)
			}
			for _, e := range entries {
				had.add(e.ID, e.Value)
			}
		}
	})
	c.takeInto(&had, s, "k", 4)
	had.exactly(c, all)
}

// replacedAmongTakesComesOnce puts one ID again and again while others take:
// each value comes out once or was replaced, and none comes twice.
//
// "The new one is the newest" (Identity), and "an entry goes to one" (At most
// once).
func replacedAmongTakesComesOnce(c *check) {
	s := c.newStore()
	var had tally
	var putting atomic.Int32
	putting.Store(2)
	together(takers, func(i int) {
		if i < 2 {
			for n := range 100 {
				e := cache.Entry{ID: "a", Value: fmt.Appendf(nil, "%d-%d", i, n)}
				if err := s.Put(background, "k", e); err != nil {
					c.Errorf("Put among others: %v", err)
				}
			}
			putting.Add(-1)
		}
		for putting.Load() > 0 { // the two that have put help with the rest
			c.takeInto(&had, s, "k", 2)
		}
	})
	if rest := c.drain(s, "k"); len(rest) > 1 {
		c.Errorf("%d entries of one ID", len(rest))
	} else if len(rest) == 1 {
		had.add(rest[0].ID, rest[0].Value)
	}
	// Which were replaced nobody knows, so that none can be missed here.
	for value, n := range had.had {
		if n > 1 {
			c.Errorf("%q was had %d times", value, n)
		}
	}
}
