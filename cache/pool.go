package cache

import (
	"fmt"
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"
)

// Options bound a Pool. Zero means no bound; a negative bound panics in
// NewPool.
type Options[K comparable, V any] struct {
	MaxKeys   int   // keys, those that have run empty included
	MaxPerKey int   // values under one key and group
	MaxGroups int   // groups under one key that have values; at most 65 534
	MaxBytes  int64 // sum of Item.Size

	// ForgetEmpty forgets a key without a note when its last value is taken
	// or dropped, for keys that are used once. An item that is put back is
	// then a new one. Without it an empty key keeps its place, and counts
	// against MaxKeys until it makes room.
	ForgetEmpty bool

	// Dropped, if not nil, is told of every value that leaves the pool other
	// than through Take or TakeFrom: once each, after the pool's locks are
	// released, in the goroutine whose call caused it. It may call the pool.
	Dropped func(key K, value V, why Cause)
}

// A Pool keeps values under keys until they are taken, expire or have to make
// room. It is safe for concurrent use. Make one with NewPool.
//
// The values of one key have one order, by when they were first put, and each
// belongs to a group. Take, Newest and Remove look at all groups, TakeFrom at
// one. So that no group crowds out the others, MaxPerKey bounds each on its own
// and MaxGroups their number. What a call does within a key takes time in
// proportion to the values it has; the two bounds are meant to keep them few.
//
// Bounds hold whenever no call is in progress; while calls run, each may
// exceed them by the one key or value it brings. A pool with 1024 keys or more
// (or no bound on keys) is divided into shards by a hash of the key, which has
// two effects: the key that makes room is chosen within a shard, and up to a
// 32nd of MaxBytes may remain unused.
//
// Which key makes room is chosen after SIEVE (Zhang et al., NSDI 2024): the
// oldest key that was not touched since the hand last passed it; an empty key
// without a note is not spared. It scans like a FIFO and hits like an LRU, and a
// hit writes one flag instead of moving a list node.
type Pool[K comparable, V any] struct {
	opts   Options[K, V]
	seed   maphash.Seed
	shards []shard[K, V]
	slack  int64 // bytes a shard may hold reserved without using them

	_        [64]byte     // what is written stands off what is only read
	keys     atomic.Int64 // keys in all shards
	reserved atomic.Int64 // bytes in all shards, slack included
}

const (
	shardCount    = 32   // a power of two
	shardFromKeys = 1024 // fewer keys are not worth dividing
	slackParts    = 32   // MaxBytes / slackParts may stay unused
)

// NewPool makes an empty pool.
func NewPool[K comparable, V any](opts Options[K, V]) *Pool[K, V] {
	if opts.MaxKeys < 0 || opts.MaxPerKey < 0 || opts.MaxGroups < 0 || opts.MaxBytes < 0 {
		panic("cache: negative bound in Options")
	}
	if opts.MaxGroups >= math.MaxUint16 {
		panic("cache: Options.MaxGroups above 65534")
	}
	p := &Pool[K, V]{opts: opts, seed: maphash.MakeSeed()}
	n := 1
	if opts.MaxKeys == 0 || opts.MaxKeys >= shardFromKeys {
		n = shardCount
		p.slack = opts.MaxBytes / slackParts / shardCount
	}
	p.shards = make([]shard[K, V], n)
	for i := range p.shards {
		p.shards[i].pool = p
		p.shards[i].table = newTable[K, V]()
	}
	return p
}

// Put adds an item as the newest of its key, or at its old place if it had been
// taken out. What makes room at a bound, as evicted, depends on which it is:
//   - MaxPerKey: the oldest value of the item's group, be it the item;
//   - MaxGroups: of the key's other groups the one whose newest value is the
//     oldest, with all its values;
//   - MaxKeys: another key with all its values;
//   - MaxBytes: another key's values, the oldest first whatever their group,
//     and then this key's.
//
// An item larger than MaxBytes or MaxSize is dropped at once, as evicted.
func (p *Pool[K, V]) Put(key K, item Item[V]) {
	var out drops[K, V]
	if p.opts.MaxBytes > 0 && item.Size > p.opts.MaxBytes || item.Size > MaxSize {
		out.add(key, item.Value, Evicted)
		p.tell(&out)
		return
	}
	s, hash := p.shard(key)
	var e entry[V]
	e.set(&item)
	if s.put(hash, key, &e, &out) {
		p.makeRoom(s, &out)
	}
	p.tell(&out)
}

// Note returns the number that is kept with a key, or zero if there is none, or
// it went when the key made room.
func (p *Pool[K, V]) Note(key K) int64 {
	s, hash := p.shard(key)
	return s.note(hash, key)
}

// SwapNote keeps a number with a key if Note is still what it was, and reports
// whether it is. A note outlives the values: a key with another than zero stays
// when it is empty, and makes room as if it were not.
func (p *Pool[K, V]) SwapNote(key K, was, note int64) bool {
	var out drops[K, V]
	s, hash := p.shard(key)
	ok, over := s.swapNote(hash, key, was, note, &out)
	if over {
		p.makeRoom(s, &out)
	}
	p.tell(&out)
	return ok
}

// ForgetNotes sets the notes of all keys that match to zero. It walks the whole
// pool; match runs under a lock. Keys that are empty then are forgotten.
func (p *Pool[K, V]) ForgetNotes(match func(K) bool) {
	for i := range p.shards {
		p.shards[i].forgetNotes(match)
	}
}

// Take looks at the key's values, whatever their group, from the newest to the
// oldest and returns the first that is not past its time and that pick wants.
// Expired values on the way are dropped. A nil pick takes. Skipped values stay
// where they are.
//
// pick runs under a lock: it must be quick and must not call the pool.
func (p *Pool[K, V]) Take(key K, now time.Time, pick func(V) Verdict) (item Item[V], ok bool) {
	ok = p.take(key, &search[V]{anyGroup: true, now: instant(now), pick: pick}, &item)
	return item, ok
}

// TakeFrom is Take within one group: it neither looks at the others nor drops
// what has expired there.
func (p *Pool[K, V]) TakeFrom(key K, group string, now time.Time, pick func(V) Verdict) (item Item[V], ok bool) {
	ok = p.take(key, &search[V]{group: group, now: instant(now), pick: pick}, &item)
	return item, ok
}

// Newest returns the newest value of the key for which look says true,
// whatever its age, and leaves it in the pool. A nil look accepts. It runs
// under a lock, as a pick function does.
func (p *Pool[K, V]) Newest(key K, look func(V) bool) (v V, ok bool) {
	if p.keys.Load() == 0 { // as of a pool of exceptions, mostly
		return v, false
	}
	item, ok := p.Take(key, time.Time{}, func(v V) Verdict {
		if look == nil || look(v) {
			return Share
		}
		return Skip
	})
	return item.Value, ok
}

// Remove takes the first value out for which match says true, from the newest
// to the oldest of all groups, and tells Dropped. match runs under a lock.
func (p *Pool[K, V]) Remove(key K, match func(V) bool) bool {
	var out drops[K, V]
	s, hash := p.shard(key)
	var found entry[V]
	ok := s.take(hash, key, &search[V]{anyGroup: true, now: math.MinInt64, pick: func(v V) Verdict {
		if match(v) {
			return Take
		}
		return Skip
	}}, &found, &out)
	if ok {
		out.add(key, found.value, Removed)
	}
	p.tell(&out)
	return ok
}

// RemoveIf takes all values out for which match says true, tells Dropped and
// returns how many there were. It walks the whole pool; match runs under a
// lock. Keys that are or become empty, and have no note, are forgotten.
func (p *Pool[K, V]) RemoveIf(match func(K, V) bool) int {
	return p.sweep(func(n *node[K, V], i int) (Cause, bool) {
		return Removed, match(n.key, n.at(i).value)
	})
}

// Sweep drops what has expired and returns how many there were. It walks the
// whole pool, and forgets the keys that are or become empty and have no note.
func (p *Pool[K, V]) Sweep(now time.Time) int {
	at := instant(now)
	return p.sweep(func(n *node[K, V], i int) (Cause, bool) {
		return Expired, n.at(i).expires <= at
	})
}

// Usage is how full a pool is.
type Usage struct {
	Keys  int   // keys that have values
	Items int   // values
	Bytes int64 // sum of their sizes
}

// Usage counts, one shard after the other.
func (p *Pool[K, V]) Usage() Usage {
	var u Usage
	for i := range p.shards {
		p.shards[i].addTo(&u)
	}
	return u
}

// String shows how full the pool is, and never what is in it.
func (p *Pool[K, V]) String() string {
	if p == nil {
		return "cache.Pool(nil)"
	}
	u := p.Usage()
	return fmt.Sprintf("cache.Pool(%d keys, %d items, %d bytes)", u.Keys, u.Items, u.Bytes)
}

// Format writes String for every verb, so that no verb reaches the values.
func (p *Pool[K, V]) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.String()) }

// A search says which of a key's values a call looks at, and what pick says.
type search[V any] struct {
	group    string
	anyGroup bool            // whatever group says
	now      int64           // an instant
	pick     func(V) Verdict // nil: Take
}

// take fills in item if it finds one. The found entry is copied out under the
// lock and made an Item after.
func (p *Pool[K, V]) take(key K, want *search[V], item *Item[V]) bool {
	if p.keys.Load() == 0 {
		return false
	}
	var out drops[K, V]
	defer p.tell(&out) // also of what went before pick panicked
	s, hash := p.shard(key)
	var found entry[V]
	ok := s.take(hash, key, want, &found, &out)
	if ok {
		found.get(item)
	}
	return ok
}

// shard hashes with a seed of the pool's own: whoever chooses the keys, such as
// the names of servers, cannot choose that they fall together.
func (p *Pool[K, V]) shard(key K) (*shard[K, V], uint32) {
	hash := maphash.Comparable(p.seed, key)
	// The table within the shard uses the lower half.
	return &p.shards[hash>>32&uint64(len(p.shards)-1)], uint32(hash)
}

// sweep walks one shard after the other, and tells of what each has dropped
// before it locks the next: no more is held back than one shard has.
func (p *Pool[K, V]) sweep(goes func(*node[K, V], int) (Cause, bool)) int {
	total := 0
	for i := range p.shards {
		total += p.sweepShard(&p.shards[i], goes)
	}
	return total
}

func (p *Pool[K, V]) sweepShard(s *shard[K, V], goes func(*node[K, V], int) (Cause, bool)) int {
	var out drops[K, V]
	defer p.tell(&out) // also of what went before goes panicked
	s.sweep(goes, &out)
	return out.len()
}

// over reports whether a bound on the whole pool is exceeded.
func (p *Pool[K, V]) over() bool {
	return p.overKeys() || p.overBytes()
}

// overKeys counts keys that have run empty, too: their nodes take memory.
func (p *Pool[K, V]) overKeys() bool {
	return p.opts.MaxKeys > 0 && p.keys.Load() > int64(p.opts.MaxKeys)
}

// overBytes counts what is reserved, so a pool may drop when a slackPart of it
// is unused, and never holds more than it may.
func (p *Pool[K, V]) overBytes() bool {
	return p.opts.MaxBytes > 0 && p.reserved.Load() > p.opts.MaxBytes
}

// makeRoom evicts from the shards after from, which had nothing more to give:
// with few keys, or large values, those that could make room may all be
// elsewhere. It begins behind from, and not at the first shard, or that would
// always pay.
func (p *Pool[K, V]) makeRoom(from *shard[K, V], out *drops[K, V]) {
	start := 0
	for i := range p.shards {
		if &p.shards[i] == from {
			start = i
		}
	}
	for i := 1; i <= len(p.shards) && p.over(); i++ {
		p.shards[(start+i)%len(p.shards)].makeRoom(out)
	}
}
