package resume

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/singleflight"
)

// A vault moves sessions between the pool and the store. A TLS 1.3 session is
// in one of them at a time: it is claimed while it is being written and leaves
// the pool when the store has it, and the store removes what it hands out. A
// TLS 1.2 session, which is used again and again, may be in both.
//
// All writes are made by one goroutine, behind the handshakes. It starts with
// the first of them and ends with Close. Reads (fetch.go) are made for whoever
// waits, and a holder's claim (reclaim.go) for him alone.
//
// Of a nil vault, which is a cache without a Store, keeps, stow, forget,
// reclaim and clear may be called: it keeps nothing, and no session is filed.
//
// Locks: mu is held for moments. Neither the store nor the user is called under
// it, and no lock of the pool is held together with it, in whatever order. A
// breaker's may be taken under it.
type vault struct {
	core   *core
	sealed *SealedStore

	fetches  singleflight.Group // by place: one Take of a key at a time
	fetching sync.WaitGroup     // those under way; none is added once closing is set
	near     near
	takes    breaker
	puts     breaker

	mu      sync.Mutex         // guards the rest
	more    *sync.Cond         // the queue has grown, or closed is set
	queue   []job              // for the writer
	flushes []*flushing        // that wait for it
	running bool               // there is a writer
	closing bool               // nothing is fetched any more
	closed  bool               // no more jobs are taken
	stopped chan struct{}      // closed when the writer has ended
	writing serverKey          // what the writer has claimed sessions of
	written chan struct{}      // closed when they are written; nil: none are
	putting map[string]bool    // their IDs, once the store is called
	told    chan struct{}      // closed when the user was told of all so far
	waiting map[serverKey]int  // callers who need a session, by key
	late    map[serverKey]bool // its fetch is not worth waiting for any more

	// doomed is what is still to be deleted, and why: until then, it is for
	// nobody here. Another process may have it as long as it is there, as it
	// may have had it a moment before the session ended.
	doomed map[filing]verdict

	// clearing counts the Clears that are at the store, by domain; nil: of all.
	// Nothing is fetched meanwhile.
	clearing map[*domain]int
}

// newVault starts nothing: a program that keeps no session outside pays nothing
// for the Store that it has set.
func newVault(c *core, sealed *SealedStore) *vault {
	if sealed == nil {
		return nil
	}
	v := &vault{
		core: c, sealed: sealed,
		stopped: make(chan struct{}), waiting: make(map[serverKey]int),
		late: make(map[serverKey]bool), doomed: make(map[filing]verdict),
		clearing: make(map[*domain]int),
	}
	v.more = sync.NewCond(&v.mu)
	return v
}

// keeps reports whether sessions of a key are stored: those of named scopes,
// since an unnamed one does not outlive the process.
func (v *vault) keeps(key serverKey) bool { return v != nil && key.domain().name != "" }

// stow has a session written. If the queue is full it stays in memory, where
// the next Flush finds it. It never waits: its caller may be inside
// crypto/tls's Read.
func (v *vault) stow(s *session) {
	if !v.keeps(s.key) || v.core.closed.Load() || !s.verdict.Load().open() || v.holdsBack(s) || !s.queue() {
		return
	}
	if !v.enqueue(maxQueued, job{put: s}) {
		s.unqueue()
		v.failed(s.key, "queue", nil)
	}
}

// doom keeps a session that has ended with why from coming back out of the
// store, until it has been deleted there. It comes before the deletion, and
// before the pool is looked through for what a fetch has brought: revive looks
// for it before and after it puts a session there, so one of the two finds the
// other.
func (v *vault) doom(where filing, why verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.doomed[where] = why
}

// doomOf is none for what may come back.
func (v *vault) doomOf(where filing) verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.doomed[where]
}

// spare ends what doom began.
func (v *vault) spare(where filing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.doomed, where)
}

// forget deletes a session from the store, if it is there. Of several who end
// it one has it deleted. The queue is never too full for that: what stays in
// the store is handed out some day.
func (v *vault) forget(s *session) {
	where := s.filed.Swap(nil)
	if where != nil && !v.enqueue(math.MaxInt, job{drop: where}) {
		go v.drop(s.key, *where) // closed, and nobody is to wait for it
	}
}

// clear clears the store of a scope, or of everything if d is nil. The caller
// has cleared the pool.
func (v *vault) clear(ctx context.Context, d *domain) error {
	if v == nil || d != nil && d.name == "" {
		return nil
	}
	defer v.shut(d)()
	// What is in the writer's hands comes first, or it would be put behind the
	// store's Clear. What that Flush complains of is no failure to clear, and if
	// ctx ends, the store says so as well.
	v.await(ctx, func() []job { return nil })
	var err error
	if d == nil {
		err = v.sealed.store.Clear(ctx)
	} else {
		err = v.sealed.clearScope(ctx, d.name)
	}
	if err != nil {
		var key serverKey
		if d != nil {
			key = d.root.key("")
		}
		v.failed(key, "clear", err)
	}
	return err
}

// shut keeps fetches out of a domain, until the function it returns is called,
// and outdates what those bring that are under way: the store is about to be
// cleared, and what it hands out before it is must not come back. Handshakes
// find nothing there meanwhile.
//
// Either a fetch begins first, and its birth is before the new epoch, or it
// finds the domain shut. The epoch of core.clear would not do for that: a fetch
// that began since is not older. What handshakes bring that began in between is
// outdated as well, though nobody asked for that; it is a moment's.
func (v *vault) shut(d *domain) (open func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clearing[d]++
	v.core.outdate(d)
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.clearing[d]--; v.clearing[d] == 0 {
			delete(v.clearing, d)
		}
	}
}

// enter is the birth of what a fetch will bring, unless the domain is shut. If
// it may begin, fetching counts it until it is done.
func (v *vault) enter(key serverKey) (birth uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ok = !v.closing && v.clearing[nil] == 0 && v.clearing[key.domain()] == 0
	if ok {
		v.fetching.Add(1)
	}
	return v.core.epoch.Load(), ok
}
