package cache

import "sync"

// A shard is one lock and the keys whose hash falls to it. Shards have only the
// counters of the Pool in common, and no call holds two of their locks.
type shard[K comparable, V any] struct {
	pool *Pool[K, V]

	mu       sync.Mutex // guards everything below
	table    table[K, V]
	queue    queue[K, V]
	free     *node[K, V] // forgotten nodes, kept to be used again
	spare    int         // how many they are, at most maxSpare
	live     int         // keys that have items
	items    int
	bytes    int64
	reserved int64  // this shard's part of Pool.reserved, at least bytes
	seq      uint32 // the last place given

	_ [64]byte // shards stand in an array; keep neighbours off the cache line
}

// A node is a key and its items. It stays when its last item is taken: single
// use empties a key at every turn. A pool has as many as it has keys, so each
// byte of a node counts.
type node[K comparable, V any] struct {
	key          K
	next         *node[K, V] // in the same bucket of the table
	older, newer *node[K, V] // in the queue
	note         int64       // Pool.Note
	hash         uint32
	groups       uint16 // that have items; counted if Options.MaxGroups is set
	touched      bool

	// Its items are a stack: see at.
	filled bool        // there is a first
	first  entry[V]    // the oldest: one item needs no memory of its own
	rest   *[]entry[V] // nil until there were several
}

// idle reports whether a key has nothing to lose.
func (n *node[K, V]) idle() bool { return !n.filled && n.note == 0 }

// put adds an item. A key that is new is not touched by that (SIEVE): it stays
// if it is used before the hand comes by, and not for having come.
//
// It reports whether a bound of the pool is still exceeded.
func (s *shard[K, V]) put(hash uint32, key K, e *entry[V], out *drops[K, V]) (over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.table.find(hash, key)
	if n == nil {
		n = s.insert(hash, key, out)
	} else {
		n.touched = true
	}
	s.add(n, e, out)
	return s.pool.over() && !s.evictFor(n, out)
}

// take looks at the items from the newest down, so that what cut does to those
// above does not matter to those that are still to come. That a key was asked
// for touches it, whether or not there is something.
func (s *shard[K, V]) take(hash uint32, key K, want *search[V], found *entry[V], out *drops[K, V]) bool {
	s.mu.Lock()
	defer s.mu.Unlock() // pick is not ours: it may panic
	n := s.table.find(hash, key)
	if n == nil {
		return false
	}
	n.touched = true
	defer s.tidy(n)
	for i := n.len() - 1; i >= 0; i-- {
		e := n.at(i)
		if !want.anyGroup && e.group != want.group {
			continue
		}
		if e.expires <= want.now {
			s.drop(n, i, Expired, out)
			continue
		}
		verdict := Take
		if want.pick != nil {
			verdict = want.pick(e.value)
		}
		switch verdict {
		case Take:
			*found = *e
			s.cut(n, i)
			return true
		case Share:
			*found = *e
			return true
		case Drop:
			s.drop(n, i, Refused, out)
		}
	}
	return false
}

// tidy forgets a key that has run empty, if it is not to be expected again.
func (s *shard[K, V]) tidy(n *node[K, V]) {
	if s.pool.opts.ForgetEmpty && n.idle() {
		s.forget(n)
	}
}

// note touches the key: whoever asks for its note is using it.
func (s *shard[K, V]) note(hash uint32, key K) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.table.find(hash, key)
	if n == nil {
		return 0
	}
	n.touched = true
	return n.note
}

// swapNote makes a node for a key that has none, unless it is to have no note
// either. That may evict, since a key without items counts as well.
func (s *shard[K, V]) swapNote(hash uint32, key K, was, note int64, out *drops[K, V]) (ok, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.table.find(hash, key)
	switch {
	case n == nil && (was != 0 || note == 0):
		return was == 0, false
	case n == nil:
		n = s.insert(hash, key, out)
	case n.note != was:
		return false, false
	default:
		n.touched = true
	}
	n.note = note
	s.tidy(n)
	return true, s.pool.over() && !s.evictFor(n, out)
}

// forgetNotes forgets what is noted of keys, and with it those that are empty.
func (s *shard[K, V]) forgetNotes(match func(K) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.queue.oldest; n != nil; {
		next := n.newer
		if match(n.key) {
			n.note = 0
		}
		if n.idle() {
			s.forget(n)
		}
		n = next
	}
}

// sweep drops every item for which goes says so, and forgets idle keys.
func (s *shard[K, V]) sweep(goes func(*node[K, V], int) (Cause, bool), out *drops[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.queue.oldest; n != nil; {
		next := n.newer
		for i := n.len() - 1; i >= 0; i-- {
			if why, ok := goes(n, i); ok {
				s.drop(n, i, why, out)
			}
		}
		if n.idle() {
			s.forget(n)
		}
		n = next
	}
}

// addTo adds what the shard counts anyway: nothing is walked.
func (s *shard[K, V]) addTo(u *Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Keys += s.live
	u.Items += s.items
	u.Bytes += s.bytes
}

// makeRoom evicts on behalf of another shard that has nothing left to give.
func (s *shard[K, V]) makeRoom(out *drops[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evictFor(nil, out)
}

// evictFor evicts until the pool is within its bounds or this shard has
// nothing left to give, and reports which. Of keep only older items go, never
// its newest. It runs under the lock.
func (s *shard[K, V]) evictFor(keep *node[K, V], out *drops[K, V]) (within bool) {
	for s.pool.over() {
		victim := s.queue.victim(keep, !s.pool.overKeys())
		switch {
		case victim != nil && s.pool.overBytes() && victim.len() > 1:
			s.drop(victim, 0, Evicted, out)
		case victim != nil:
			s.evict(victim, out)
		case s.pool.overBytes() && keep != nil && keep.len() > 1:
			s.drop(keep, 0, Evicted, out)
		default:
			return false
		}
	}
	return true
}

// insert makes a node for a new key. When keys are at their bound it is the
// victim's, so that their number stays as it is.
func (s *shard[K, V]) insert(hash uint32, key K, out *drops[K, V]) *node[K, V] {
	n := s.successor(out)
	if n == nil {
		n = s.recycle()
		s.pool.keys.Add(1)
	}
	n.key, n.hash = key, hash
	s.table.insert(n)
	s.queue.push(n)
	return n
}

// successor takes the node away from the victim, or returns nil if there is
// room for another one or this shard has none.
func (s *shard[K, V]) successor(out *drops[K, V]) *node[K, V] {
	p := s.pool
	if p.opts.MaxKeys == 0 || p.keys.Load() < int64(p.opts.MaxKeys) {
		return nil
	}
	n := s.queue.victim(nil, false)
	if n != nil {
		s.dropAll(n, out)
		s.unlink(n)
	}
	return n
}

// evict drops a key with all its items.
func (s *shard[K, V]) evict(n *node[K, V], out *drops[K, V]) {
	s.dropAll(n, out)
	s.forget(n)
}

// forget ends an empty key and keeps its node for the next one.
func (s *shard[K, V]) forget(n *node[K, V]) {
	s.unlink(n)
	s.pool.keys.Add(-1)
	if s.spare < maxSpare {
		n.next, s.free = s.free, n
		s.spare++
	}
}

// maxSpare is how many forgotten nodes a shard keeps. Bytes are reserved with
// some slack, so that several keys may be evicted at once, and then as many
// come before the next is.
const maxSpare = 16

// recycle takes a forgotten node, or makes one.
func (s *shard[K, V]) recycle() *node[K, V] {
	n := s.free
	if n == nil {
		return new(node[K, V])
	}
	s.free, n.next = n.next, nil
	s.spare--
	return n
}

// unlink makes of an empty key's node one as good as new.
func (s *shard[K, V]) unlink(n *node[K, V]) {
	s.table.remove(n)
	s.queue.remove(n)
	var none K
	n.key, n.touched, n.note = none, false, 0
	n.rest = nil
}

// add puts an item in its place and brings its key back within its bounds,
// which the first of a key, as most are that are used once, cannot exceed.
func (s *shard[K, V]) add(n *node[K, V], e *entry[V], out *drops[K, V]) {
	s.items++
	s.charge(int64(e.size))
	if e.place == 0 {
		e.place = s.nextPlace()
	}
	if s.pool.opts.MaxGroups > 0 && !n.holds(e.group, 0) {
		n.groups++
	}
	if !n.filled {
		s.live++
		n.first, n.filled = *e, true
		return
	}
	n.place(e)
	s.trim(n, e.group, out)
}

// charge counts bytes. Shards reserve them from the pool with some slack, so
// that take and put in turn do not meet on one counter every time: what a shard
// has reserved is at least what it has and at most slack above it. Half the
// slack is kept on either side, or a take after a put would cross the edge
// again.
func (s *shard[K, V]) charge(size int64) {
	s.bytes += size
	if s.pool.opts.MaxBytes == 0 {
		return
	}
	if spare := s.reserved - s.bytes; spare < 0 || spare > s.pool.slack {
		want := s.bytes + s.pool.slack/2
		s.pool.reserved.Add(want - s.reserved)
		s.reserved = want
	}
}
