package dirstore

import "sync/atomic"

// Stats counts what a Store has met since Open, in this process. What lies
// where it is, such as a foreign file, counts each time.
type Stats struct {
	Put     uint64 // entries written
	Taken   uint64 // entries returned by Take
	Deleted uint64 // entries that Delete was true for
	Lost    uint64 // entries that another took, deleted or dropped first

	Expired  uint64 // removed or not written: past their time
	Evicted  uint64 // removed or not written: a bound was reached
	Replaced uint64 // removed or not written: their ID was put again
	Damaged  uint64 // checksum or form is wrong; a Take removes them
	Stale    uint64 // removed: temporary files left behind

	Foreign    uint64 // left alone: a name that is not the store's, or no file
	TooLarge   uint64 // left alone: larger than MaxValue allows
	Unreadable uint64 // left alone: could not be opened, read or removed
}

// counts is Stats while it counts. Each number is right by itself; together
// they are of one moment only when no call runs.
type counts struct {
	put, taken, deleted, lost                  atomic.Uint64
	expired, evicted, replaced, damaged, stale atomic.Uint64
	foreign, tooLarge, unreadable              atomic.Uint64
}

// Stats returns what has been counted so far.
func (s *Store) Stats() Stats {
	c := &s.counts
	return Stats{
		Put: c.put.Load(), Taken: c.taken.Load(), Deleted: c.deleted.Load(), Lost: c.lost.Load(),
		Expired: c.expired.Load(), Evicted: c.evicted.Load(), Replaced: c.replaced.Load(),
		Damaged: c.damaged.Load(), Stale: c.stale.Load(),
		Foreign: c.foreign.Load(), TooLarge: c.tooLarge.Load(), Unreadable: c.unreadable.Load(),
	}
}
