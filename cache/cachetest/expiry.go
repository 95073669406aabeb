package cachetest

import (
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// expiring is a sample with an end.
func expiring(id string, at time.Time) cache.Entry {
	e := sample(id)
	e.Expires = at
	return e
}

// expiredIsNotThere is about what had expired before it was put. The epoch and
// the times around it are those that a store may use to say "never", and now
// itself is over: what expires is there before its time and not at it.
//
// "An entry whose Expires is not after now counts as not there, for every
// method" (Time).
func expiredIsNotThere(c *check) {
	s := c.newStore()
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(-time.Hour), time.Unix(0, 0), time.Unix(-1, 0), time.Unix(1, 0)} {
		// By Delete and by Take apart, since either removes what it meets.
		c.put(s, "k", expiring("a", at))
		if c.delete(s, "k", "a") {
			c.Errorf("Delete of an entry that expired at %v is true", at)
		}
		c.put(s, "k", expiring("a", at))
		c.holds(s, "k")
	}
}

// expiryComesWhileStored has to wait: the store's clock is the real one.
//
// "Now is the store's clock" (Time).
func expiryComesWhileStored(c *check) {
	s := c.newStore()
	soon := time.Now().Add(25 * time.Millisecond)
	c.put(s, "k", sample("a"), expiring("b", soon))
	c.put(s, "only", expiring("a", soon), expiring("b", soon)) // and then none
	pastMillisecond(soon)
	if c.delete(s, "only", "b") {
		c.Errorf("Delete of an entry that expired in the store is true")
	}
	c.holds(s, "only")
	c.holds(s, "k", "a")
}

// expiredHidesNothing has expired entries above, between and below good ones: a
// store that looks only at the newest misses.
//
// "It is never returned or listed" (Time).
func expiredHidesNothing(c *check) {
	s := c.newStore()
	soon, late := time.Now().Add(25*time.Millisecond), time.Now().Add(time.Hour)
	c.put(s, "k", expiring("a", late), expiring("b", soon), sample("c"), expiring("d", soon), expiring("e", soon))
	pastMillisecond(soon)
	c.same(idsOf(c.take(s, "k", 9)), []string{"c", "a"}, "what has not expired")
	c.holds(s, "k")
}

// putOfExpiredReplaces has successors that have expired: a value that was
// withdrawn must not come back because its successor was late, within one Put
// as well as by the next.
//
// "To put such an entry is no error; it only removes the one it replaces"
// (Time).
func putOfExpiredReplaces(c *check) {
	s := c.newStore()
	past := time.Now().Add(-time.Second)
	c.put(s, "k", samples("a", "b")...)
	c.put(s, "k", expiring("a", past))
	c.holds(s, "k", "b")
	// In one Put: a that is good, a that has expired, and what comes after.
	c.put(s, "k", sample("a"), expiring("a", past), sample("b"))
	c.holds(s, "k", "b")
}

// expiresIsKeptToTheMillisecond has it rounded down, because an entry must not
// outlive what it was granted, and exactly, because whoever seals a value seals
// its expiry with it: a store that gives back another makes it unreadable. In
// the year 9999 nanoseconds since 1970 overflow 64 bits.
//
// "Expires is kept to the millisecond, rounded down; zero means never" (Time).
func expiresIsKeptToTheMillisecond(c *check) {
	s := c.newStore()
	now := time.Now()
	for _, at := range []time.Time{
		{}, // never
		now.Add(time.Hour),
		now.Truncate(time.Millisecond).Add(time.Hour + time.Millisecond - 1),
		now.Add(7 * 24 * time.Hour).UTC(),
		now.AddDate(100, 0, 0),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
	} {
		c.put(s, "k", expiring("a", at))
		for _, e := range c.take(s, "k", 1) {
			if e.Expires.IsZero() != at.IsZero() || !at.IsZero() && e.Expires.UnixNano() != at.UnixMilli()*1e6 {
				c.Errorf("expires at %v, want %v, rounded down to the millisecond", e.Expires, at)
			}
		}
		c.holds(s, "k")
	}
}
