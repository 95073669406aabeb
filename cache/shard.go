package cache

import (
	"slices"
	"sync"
)

// A shard is one lock and the keys whose hash falls to it.
type shard[K comparable, V any] struct {
	pool *Pool[K, V]

	mu       sync.Mutex // guards everything below
	byHash   map[uint64]*node[K, V]
	oldest   *node[K, V] // of the keys, by when they came
	newest   *node[K, V]
	hand     *node[K, V] // where the search for a victim goes on; nil: at oldest
	free     *node[K, V] // one evicted node, kept to be used again
	live     int         // keys that have items
	items    int
	bytes    int64
	reserved int64 // this shard's part of Pool.reserved, at least bytes
	seq      uint64

	_ [64]byte // shards stand in an array; keep neighbours off the cache line
}

// A node is a key and its items of all groups, the newest last. It stays when
// its last item is taken: single use empties a key at every turn.
//
// Groups have no stacks of their own. Most keys have one group and a few items,
// where scanning one stack costs little and a second level would cost each key
// its memory; and what is the oldest or the newest of all groups stands at an
// end.
type node[K comparable, V any] struct {
	key          K
	hash         uint64
	same         *node[K, V] // next with the same hash
	older, newer *node[K, V]
	touched      bool
	groups       int32 // that have items; counted if Options.MaxGroups is set
	items        []Item[V]
	first        [1]Item[V] // room for the first item
}

func (s *shard[K, V]) put(hash uint64, key K, item *Item[V], out *drops[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.find(hash, key)
	if n == nil {
		n = s.insert(hash, key, out)
	} else {
		n.touched = true
	}
	s.add(n, item, out)
	if s.pool.over() {
		s.evictFor(n, out)
	}
}

// take looks at the items from the newest down.
func (s *shard[K, V]) take(hash uint64, key K, want *search[V], item *Item[V], out *drops[K, V]) bool {
	s.mu.Lock()
	defer s.mu.Unlock() // pick is not ours: it may panic
	n := s.find(hash, key)
	if n == nil {
		return false
	}
	n.touched = true
	defer s.tidy(n)
	for i := len(n.items) - 1; i >= 0; i-- {
		if !want.anyGroup && n.items[i].Group != want.group {
			continue
		}
		if n.items[i].expired(want.now) {
			s.drop(n, i, Expired, out)
			continue
		}
		verdict := Take
		if want.pick != nil {
			verdict = want.pick(n.items[i].Value)
		}
		switch verdict {
		case Take:
			*item = n.items[i]
			s.cut(n, i)
			return true
		case Share:
			*item = n.items[i]
			return true
		case Drop:
			s.drop(n, i, Refused, out)
		}
	}
	return false
}

// tidy forgets a key that has run empty, if it is not to be expected again.
func (s *shard[K, V]) tidy(n *node[K, V]) {
	if s.pool.opts.ForgetEmpty && len(n.items) == 0 {
		s.forget(n)
	}
}

// sweep drops every item for which goes says so, and forgets empty keys.
func (s *shard[K, V]) sweep(goes func(*node[K, V], int) (Cause, bool), out *drops[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.oldest; n != nil; {
		next := n.newer
		for i := len(n.items) - 1; i >= 0; i-- {
			if why, ok := goes(n, i); ok {
				s.drop(n, i, why, out)
			}
		}
		if len(n.items) == 0 {
			s.forget(n)
		}
		n = next
	}
}

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
// nothing left to give. Of keep only older items go, never its newest. It runs
// under the lock.
func (s *shard[K, V]) evictFor(keep *node[K, V], out *drops[K, V]) {
	for s.pool.over() {
		victim := s.victim(keep)
		switch {
		case victim != nil && s.pool.overBytes() && len(victim.items) > 1:
			s.drop(victim, 0, Evicted, out)
		case victim != nil:
			s.evict(victim, out)
		case s.pool.overBytes() && keep != nil && len(keep.items) > 1:
			s.drop(keep, 0, Evicted, out)
		default:
			return
		}
	}
}

// victim is the key to make room: the hand goes from the oldest to the newest
// and around, and spares once each key that was touched since it last passed.
func (s *shard[K, V]) victim(keep *node[K, V]) *node[K, V] {
	// The first round begins at the hand. At the latest the one after the next
	// finds every flag lowered.
	for range 3 {
		n := s.hand
		if n == nil {
			n = s.oldest
		}
		for ; n != nil; n = n.newer {
			if n == keep {
				continue
			}
			if !n.touched || len(n.items) == 0 {
				s.hand = n
				return n
			}
			n.touched = false
		}
		s.hand = nil
	}
	return nil
}

func (s *shard[K, V]) find(hash uint64, key K) *node[K, V] {
	n := s.byHash[hash]
	for n != nil && n.key != key {
		n = n.same
	}
	return n
}

// insert makes a node for a new key. When keys are at their bound, the victim
// goes first, so that its node can be used again.
func (s *shard[K, V]) insert(hash uint64, key K, out *drops[K, V]) *node[K, V] {
	p := s.pool
	if p.opts.MaxKeys > 0 && p.keys.Load() >= int64(p.opts.MaxKeys) {
		if victim := s.victim(nil); victim != nil {
			s.evict(victim, out)
		}
	}
	n := s.free
	if n == nil {
		n = new(node[K, V])
		n.items = n.first[:0]
	}
	s.free = nil
	n.key, n.hash, n.touched = key, hash, false
	n.same = s.byHash[hash]
	s.byHash[hash] = n
	n.older, n.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = n
	} else {
		s.oldest = n
	}
	s.newest = n
	p.keys.Add(1)
	return n
}

// evict drops a key with all its items.
func (s *shard[K, V]) evict(n *node[K, V], out *drops[K, V]) {
	for i := len(n.items) - 1; i >= 0; i-- {
		s.drop(n, i, Evicted, out)
	}
	s.forget(n)
}

// forget unlinks an empty key and keeps its node for the next insert.
func (s *shard[K, V]) forget(n *node[K, V]) {
	if s.hand == n {
		s.hand = n.newer
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		s.oldest = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		s.newest = n.older
	}
	s.unmap(n)
	s.pool.keys.Add(-1)
	*n = node[K, V]{}
	n.items = n.first[:0]
	s.free = n
}

func (s *shard[K, V]) unmap(n *node[K, V]) {
	head := s.byHash[n.hash]
	switch {
	case head == n && n.same == nil:
		delete(s.byHash, n.hash)
	case head == n:
		s.byHash[n.hash] = n.same
	default:
		for head.same != n {
			head = head.same
		}
		head.same = n.same
	}
}

// add puts an item in its place and brings its key back within its bounds.
func (s *shard[K, V]) add(n *node[K, V], item *Item[V], out *drops[K, V]) {
	if len(n.items) == 0 {
		s.live++
	}
	if s.pool.opts.MaxGroups > 0 && !holds(n.items, item.Group) {
		n.groups++
	}
	s.place(n, item)
	s.items++
	s.charge(item.Size)
	s.trim(n, item.Group, out)
}

// place inserts an item at the top, unless it had a place before.
func (s *shard[K, V]) place(n *node[K, V], item *Item[V]) {
	if item.seq == 0 {
		s.seq++
		item.seq = s.seq
		n.items = append(n.items, *item)
	} else {
		s.replace(n, item)
	}
	if len(n.items) == 2 { // they have just outgrown first, which must not pin its copy
		n.first[0] = Item[V]{}
	}
}

// replace inserts an item that had a place before.
func (s *shard[K, V]) replace(n *node[K, V], item *Item[V]) {
	at := len(n.items)
	for at > 0 && n.items[at-1].seq > item.seq {
		at--
	}
	n.items = slices.Insert(n.items, at, *item)
}

// trim makes room within a key of which only group can have grown: by its own
// oldest item, or by another group if it is new.
func (s *shard[K, V]) trim(n *node[K, V], group string, out *drops[K, V]) {
	opts := &s.pool.opts
	if opts.MaxPerKey > 0 && len(n.items) > opts.MaxPerKey {
		if oldest, count := members(n.items, group); count > opts.MaxPerKey {
			s.drop(n, oldest, Evicted, out)
		}
	}
	if opts.MaxGroups > 0 && int(n.groups) > opts.MaxGroups {
		s.dropGroup(n, stalest(n.items, group), out)
	}
}

// cut takes an item out of its stack.
func (s *shard[K, V]) cut(n *node[K, V], i int) {
	group := n.items[i].Group
	s.items--
	s.charge(-n.items[i].Size)
	last := len(n.items) - 1
	if i < last {
		copy(n.items[i:], n.items[i+1:])
	}
	n.items[last] = Item[V]{} // let go of the value
	n.items = n.items[:last]
	if last == 0 {
		s.live--
	}
	if s.pool.opts.MaxGroups > 0 && !holds(n.items, group) {
		n.groups--
	}
}

func (s *shard[K, V]) drop(n *node[K, V], i int, why Cause, out *drops[K, V]) {
	out.add(n.key, n.items[i].Value, why)
	s.cut(n, i)
}

func (s *shard[K, V]) dropGroup(n *node[K, V], group string, out *drops[K, V]) {
	for i := len(n.items) - 1; i >= 0; i-- {
		if n.items[i].Group == group {
			s.drop(n, i, Evicted, out)
		}
	}
}

// charge counts bytes. Shards reserve them from the pool with some slack, so
// that take and put in turn do not meet on one counter every time.
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

// holds reports whether any of the items is of the group.
func holds[V any](items []Item[V], group string) bool {
	for i := len(items) - 1; i >= 0; i-- { // from the newest, the likeliest
		if items[i].Group == group {
			return true
		}
	}
	return false
}

// members returns where the oldest item of a group is and how many there are.
func members[V any](items []Item[V], group string) (oldest, count int) {
	for i := len(items) - 1; i >= 0; i-- {
		if items[i].Group == group {
			oldest = i
			count++
		}
	}
	return oldest, count
}

// stalest is the group, of those other than keep, whose newest item is the
// oldest: that of the first item that none of its group follows. There must be
// such a group.
func stalest[V any](items []Item[V], keep string) string {
	for i := 0; ; i++ {
		group := items[i].Group
		if group != keep && !holds(items[i+1:], group) {
			return group
		}
	}
}
