package cache

import "math/bits"

// A table finds a shard's nodes. It is a hash table with chains through the
// nodes, which are there anyway: next to Go's map it saves hashing the hash,
// and the room and the time that a map needs for what was deleted, which with
// single use and eviction is at every turn.
//
// It grows by one bucket with each key beyond their number, whose nodes come
// all from one other bucket (linear hashing, Litwin 1980), so that no call
// waits until all keys are moved. It does not shrink.
type table[K comparable, V any] struct {
	buckets []*node[K, V]
	nodes   int
}

// minBuckets is how many an empty table has.
const minBuckets = 8

func newTable[K comparable, V any]() table[K, V] {
	return table[K, V]{buckets: make([]*node[K, V], minBuckets)}
}

// bucket is where nodes with the hash are. There are n buckets between two
// powers of two: from n on down to the lower one they are yet to be split, and
// one bit of the hash less counts. It is of the lower half; the upper chooses
// the shard, or all keys of one would share a few of its buckets.
func (t *table[K, V]) bucket(hash uint32) **node[K, V] {
	n := uint64(len(t.buckets))
	mask := uint64(1)<<bits.Len64(n-1) - 1
	i := uint64(hash) & mask
	if i >= n {
		i &= mask >> 1
	}
	return &t.buckets[i]
}

// find compares hashes first: most keys are strings, behind a pointer.
func (t *table[K, V]) find(hash uint32, key K) *node[K, V] {
	n := *t.bucket(hash)
	for n != nil && (n.hash != hash || n.key != key) {
		n = n.next
	}
	return n
}

// insert adds a node whose key is not there, with its hash set.
func (t *table[K, V]) insert(n *node[K, V]) {
	if t.nodes++; t.nodes > len(t.buckets) {
		t.split()
	}
	at := t.bucket(n.hash)
	n.next, *at = *at, n
}

// remove takes out a node that is there. Buckets stay: a pool that was full
// once will be again.
func (t *table[K, V]) remove(n *node[K, V]) {
	at := t.bucket(n.hash)
	for *at != n {
		at = &(*at).next
	}
	*at, n.next = n.next, nil
	t.nodes--
}

// split adds a bucket and moves there what belongs there now.
func (t *table[K, V]) split() {
	added := uint64(len(t.buckets))
	from := added &^ (1 << (bits.Len64(added) - 1))
	t.buckets = append(t.buckets, nil)
	chain := t.buckets[from]
	t.buckets[from] = nil
	for chain != nil {
		n := chain
		chain = n.next
		at := t.bucket(n.hash)
		n.next, *at = *at, n
	}
}
