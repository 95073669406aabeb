package cache

import "slices"

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

func (s *shard[K, V]) dropAll(n *node[K, V], out *drops[K, V]) {
	for i := len(n.items) - 1; i >= 0; i-- {
		s.drop(n, i, Evicted, out)
	}
}

func (s *shard[K, V]) dropGroup(n *node[K, V], group string, out *drops[K, V]) {
	for i := len(n.items) - 1; i >= 0; i-- {
		if n.items[i].Group == group {
			s.drop(n, i, Evicted, out)
		}
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
