package cache

// A queue keeps a shard's nodes by when their keys came, and chooses which of
// them makes room, after SIEVE: see Pool. A node stays where it is when its key
// is used, where an LRU would have to write pointers of three nodes, and a key
// that comes again after it was forgotten is a new one. All of it runs under
// the shard's lock.
type queue[K comparable, V any] struct {
	oldest *node[K, V]
	newest *node[K, V]
	hand   *node[K, V] // where the search for a victim goes on; nil: at oldest
}

// push adds a node as the newest.
func (q *queue[K, V]) push(n *node[K, V]) {
	n.older, n.newer = q.newest, nil
	if q.newest != nil {
		q.newest.newer = n
	} else {
		q.oldest = n
	}
	q.newest = n
}

// remove moves the hand on if it points here, so that it never points to a node
// that is not in the queue.
func (q *queue[K, V]) remove(n *node[K, V]) {
	if q.hand == n {
		q.hand = n.newer
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		q.oldest = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		q.newest = n.older
	}
	n.older, n.newer = nil, nil
}

// victim is the key to make room: the hand goes from the oldest to the newest
// and around, and spares once each key that was touched since it last passed.
// If bytes are wanted, it passes by those that have none. It stops where it
// found one: what came lately is not looked at before the rest was, so that a
// scan of keys that are used once pushes each other out and nothing else.
func (q *queue[K, V]) victim(keep *node[K, V], bytes bool) *node[K, V] {
	// The first round begins at the hand. At the latest the one after the next
	// finds every flag lowered.
	for range 3 {
		n := q.hand
		if n == nil {
			n = q.oldest
		}
		for ; n != nil; n = n.newer {
			if n == keep || bytes && !n.filled {
				continue
			}
			if !n.touched || n.idle() {
				q.hand = n
				return n
			}
			n.touched = false
		}
		q.hand = nil
	}
	return nil
}
