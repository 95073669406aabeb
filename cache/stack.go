package cache

import (
	"math"
	"time"
)

// An entry is an Item in as few bytes as it takes. The pool has one for each
// value; an Item, with a time.Time and a 64-bit size, would take 24 bytes more.
type entry[V any] struct {
	value   V
	group   string
	expires int64 // as instant says; forever if it does not
	size    uint32
	place   uint32
}

// before compares places, which begin anew when they have all been given (RFC
// 1982). No item is that old.
func (e *entry[V]) before(place uint32) bool { return int32(e.place-place) < 0 }

// forever is later than any instant.
const forever = math.MaxInt64

// instant is a time in Unix nanoseconds, or what comes closest to one before
// 1678 or after 2262.
func instant(t time.Time) int64 {
	switch second := t.Unix(); {
	case second <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	case second >= math.MaxInt64/int64(time.Second):
		return forever - 1
	}
	return t.UnixNano()
}

// set makes an entry of an item.
func (e *entry[V]) set(item *Item[V]) {
	e.value, e.group, e.size, e.place = item.Value, item.Group, uint32(item.Size), item.Place
	e.expires = forever
	if !item.Expires.IsZero() {
		e.expires = instant(item.Expires)
	}
}

// get is the other way.
func (e *entry[V]) get(item *Item[V]) {
	item.Value, item.Group, item.Size, item.Place = e.value, e.group, int64(e.size), e.place
	item.Expires = time.Time{}
	if e.expires != forever {
		item.Expires = time.Unix(0, e.expires)
	}
}

// len counts the items of all groups.
func (n *node[K, V]) len() int {
	switch {
	case !n.filled:
		return 0
	case n.rest == nil:
		return 1
	}
	return 1 + len(*n.rest)
}

// at is one of a key's items, of all groups, by their place in the order: the
// oldest is number 0.
//
// Groups have no stacks of their own. Most keys have one group and a few items,
// where scanning one stack costs little and a second level would cost each key
// its memory; and what is the oldest or the newest of all groups stands at an
// end.
func (n *node[K, V]) at(i int) *entry[V] {
	if i == 0 {
		return &n.first
	}
	return &(*n.rest)[i-1]
}

// insert makes room among what there is and returns it.
func (n *node[K, V]) insert(i int) *entry[V] {
	if n.rest == nil {
		n.rest = new([]entry[V])
	}
	*n.rest = append(*n.rest, entry[V]{})
	for j := n.len() - 1; j > i; j-- { // of what is put back, from near the top
		*n.at(j) = *n.at(j - 1)
	}
	return n.at(i)
}

// remove lets go of the value, too. It is not the only one.
func (n *node[K, V]) remove(i int) {
	last, rest := n.len()-1, *n.rest
	if i == 0 {
		n.first = rest[0]
		i++
	}
	if i < last {
		copy(rest[i-1:], rest[i:])
	}
	rest[last-1] = entry[V]{}
	*n.rest = rest[:last-1]
}

// holds reports whether any item from number from on is of the group.
func (n *node[K, V]) holds(group string, from int) bool {
	if n.rest != nil {
		rest := *n.rest
		for i := len(rest) - 1; i >= from-1 && i >= 0; i-- { // from the newest, the likeliest
			if rest[i].group == group {
				return true
			}
		}
	}
	return from == 0 && n.filled && n.first.group == group
}

// members returns where the oldest item of a group is and how many there are.
func (n *node[K, V]) members(group string) (oldest, count int) {
	for i := n.len() - 1; i >= 0; i-- {
		if n.at(i).group == group {
			oldest = i
			count++
		}
	}
	return oldest, count
}

// stalest is the group, of those other than keep, whose newest item is the
// oldest: that of the first item that none of its group follows. There must be
// such a group.
func (n *node[K, V]) stalest(keep string) string {
	for i := 0; ; i++ {
		if group := n.at(i).group; group != keep && !n.holds(group, i+1) {
			return group
		}
	}
}

// nextPlace is for an item that comes for the first time.
func (s *shard[K, V]) nextPlace() uint32 {
	if s.seq++; s.seq == 0 {
		s.seq++
	}
	return s.seq
}

// place puts an item among others by its place: at the top if that is new.
func (n *node[K, V]) place(e *entry[V]) {
	at := n.len()
	for at > 0 && !n.at(at-1).before(e.place) {
		at--
	}
	*n.insert(at) = *e
}

// trim makes room within a key of which only group can have grown: by its own
// oldest item, or by another group if it is new.
func (s *shard[K, V]) trim(n *node[K, V], group string, out *drops[K, V]) {
	opts := &s.pool.opts
	if opts.MaxPerKey > 0 && n.len() > opts.MaxPerKey {
		if oldest, count := n.members(group); count > opts.MaxPerKey {
			s.drop(n, oldest, Evicted, out)
		}
	}
	if opts.MaxGroups > 0 && int(n.groups) > opts.MaxGroups {
		s.dropGroup(n, n.stalest(group), out)
	}
}

// cut takes an item out of its stack and the books. Whoever calls it tells of
// the value or hands it out.
func (s *shard[K, V]) cut(n *node[K, V], i int) {
	s.items--
	s.charge(-int64(n.at(i).size))
	if n.len() == 1 {
		s.live--
		n.first, n.filled, n.groups = entry[V]{}, false, 0
		return
	}
	group := n.at(i).group
	n.remove(i)
	if s.pool.opts.MaxGroups > 0 && !n.holds(group, 0) {
		n.groups--
	}
}

// drop cuts an item that nobody gets, to be told of when the lock is released.
func (s *shard[K, V]) drop(n *node[K, V], i int, why Cause, out *drops[K, V]) {
	out.add(n.key, n.at(i).value, why)
	s.cut(n, i)
}

// dropAll empties a key, from the top, where a stack moves nothing.
func (s *shard[K, V]) dropAll(n *node[K, V], out *drops[K, V]) {
	for i := n.len() - 1; i >= 0; i-- {
		s.drop(n, i, Evicted, out)
	}
}

// dropGroup is for a group that makes room for another.
func (s *shard[K, V]) dropGroup(n *node[K, V], group string, out *drops[K, V]) {
	for i := n.len() - 1; i >= 0; i-- {
		if n.at(i).group == group {
			s.drop(n, i, Evicted, out)
		}
	}
}
