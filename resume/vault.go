package resume

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tlsresume/tlsresume/cache"
)

// A vault moves sessions between the pool and the store. A TLS 1.3 session is
// in one of them at a time: it is claimed while it is being written and leaves
// the pool when the store has it, and the store removes what it hands out. A
// TLS 1.2 session, which is used again and again, may be in both.
//
// All writes are made by one goroutine, behind the handshakes. It starts with
// the first of them and ends with Close.
type vault struct {
	core   *core
	sealed *SealedStore

	fetches singleflight.Group
	near    near
	takes   breaker
	puts    breaker

	mu      sync.Mutex         // guards the rest
	more    *sync.Cond         // the queue has grown, or closed is set
	queue   []job              // for the writer
	flushes []*flushing        // that wait for it
	running bool               // there is a writer
	closed  bool               // no more jobs are taken
	stopped chan struct{}      // closed when the writer has ended
	writing serverKey          // what the writer has claimed sessions of
	written chan struct{}      // closed when they are written; nil: none are
	told    chan struct{}      // closed when the user was told of all so far
	waiting map[serverKey]int  // callers who need a session, by key
	late    map[serverKey]bool // its fetch is not worth waiting for any more

	// doomed is what is still to be deleted, and why: until then, it is for
	// nobody here.
	doomed map[filing]verdict
}

func newVault(c *core, sealed *SealedStore) *vault {
	if sealed == nil {
		return nil
	}
	v := &vault{
		core: c, sealed: sealed,
		stopped: make(chan struct{}), waiting: make(map[serverKey]int),
		late: make(map[serverKey]bool), doomed: make(map[filing]verdict),
	}
	v.more = sync.NewCond(&v.mu)
	return v
}

// keeps reports whether sessions of a key are stored: those of named scopes,
// since an unnamed one does not outlive the process.
func (v *vault) keeps(key serverKey) bool { return v != nil && key.domain().name != "" }

// stow has a session written. If the queue is full it stays in memory, where
// the next Flush finds it.
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
// store, until forget has deleted it there.
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

// forget deletes a session from the store, if it is there.
func (v *vault) forget(s *session) {
	where := s.filed.Swap(nil)
	if where != nil && !v.enqueue(math.MaxInt, job{drop: where}) {
		go v.drop(s.key, *where) // closed, and nobody is to wait for it
	}
}

// reclaim gets a stored session back for who holds it. Of all who try, here
// and elsewhere, the one whose Delete finds it has it; for the others it is
// used. If the store does not say, nobody may use it.
func (v *vault) reclaim(s *session) bool {
	if v == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDeadline)
	defer cancel()
	if s.verdict.Load() == stowing && !v.awaitWriting(ctx, s.key) {
		return false
	}
	where := s.filed.Load()
	if where == nil || v.takes.isOpen(time.Now()) || !s.verdict.CompareAndSwap(stored, reclaiming) {
		return false
	}
	s.retain() // for the call below, which may outlive this one
	answer := make(chan bool, 1)
	var left atomic.Bool // one of the two: the caller, or the answer was there first
	go func() {
		defer s.release()
		got := v.askBack(s, *where)
		if left.Swap(true) { // the caller has gone
			if !got {
				return
			}
			s.retain() // for the lease, which others may have now
			v.core.giveBack(&lease{s: s, pooled: true})
			return
		}
		answer <- got
	}()
	select {
	case got := <-answer:
		return got
	case <-ctx.Done():
		if left.Swap(true) {
			return <-answer
		}
		v.failed(s.key, "slow", ctx.Err())
		return false
	}
}

// askBack is the store's answer to reclaim: the session is leased to us, or it
// is not.
func (v *vault) askBack(s *session, where filing) bool {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	mine, err := v.sealed.store.Delete(ctx, where.key, where.id)
	switch {
	case err != nil:
		v.failed(s.key, "delete", err)
		s.verdict.CompareAndSwap(reclaiming, stored)
		if fate := s.fate.Load(); fate != none {
			v.core.remove(s, fate)
		}
		return false
	case !mine:
		if s.end(used) {
			v.core.depart(s)
		}
		return false
	}
	s.filed.Store(nil)
	if !s.verdict.CompareAndSwap(reclaiming, leased) {
		return false
	}
	v.core.ledger.move(s)
	return true
}

// awaitWriting waits until nothing is being written of a key, and reports
// whether it came to that.
func (v *vault) awaitWriting(ctx context.Context, key serverKey) bool {
	v.mu.Lock()
	written := v.written
	busy := written != nil && v.writing == key
	v.mu.Unlock()
	if !busy {
		return true
	}
	select {
	case <-written:
		return true
	case <-ctx.Done():
		v.failed(key, "slow", ctx.Err())
		return false
	}
}

// queueUp counts a caller who needs a session of a key, until the function it
// returns is called.
func (v *vault) queueUp(key serverKey) (leave func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting[key]++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.waiting[key]--; v.waiting[key] == 0 {
			delete(v.waiting, key)
		}
	}
}

// fetch brings sessions of a key into the pool, as many as callers wait for,
// and reports whether it is worth while to look there. Callers of one key share
// what one Take of the store brings; which session becomes whose is decided in
// the pool, where each is claimed once.
//
// If a fetch has begun for this caller, asked is where it tells.
func (v *vault) fetch(ctx context.Context, key serverKey, seen *view, asked <-chan singleflight.Result) bool {
	if asked == nil {
		if !v.isWorthAsking(key) {
			v.core.ledger.count(&v.core.ledger.suspended)
			return false
		}
		if !v.awaitWriting(ctx, key) {
			return false
		}
		asked = v.share(key, seen)
	}
	select {
	case result := <-asked:
		return result.Val.(int) > 0
	case <-ctx.Done():
		v.failed(key, "slow", ctx.Err())
		return false
	}
}

// share is bring, of which there is one at a time for a key.
func (v *vault) share(key serverKey, seen *view) <-chan singleflight.Result {
	return v.fetches.DoChan(v.sealed.place(key), func() (any, error) {
		if !v.takes.allows(time.Now()) {
			return 0, nil
		}
		onTime := v.clock(key)
		brought, err := v.bring(key, seen)
		if onTime() {
			v.judge(&v.takes, key, "take", err)
		}
		return brought, nil
	})
}

// clock takes the time of a fetch. If it has not ended after takeDeadline, that
// is a failure, and nobody else need wait for it.
func (v *vault) clock(key serverKey) (onTime func() bool) {
	ended, late := false, false // under v.mu
	timer := time.AfterFunc(takeDeadline, func() {
		v.mu.Lock()
		if late = !ended; late {
			v.late[key] = true
		}
		v.mu.Unlock()
		if late {
			v.judge(&v.takes, key, "take", context.DeadlineExceeded)
		}
	})
	return func() bool {
		timer.Stop()
		v.mu.Lock()
		defer v.mu.Unlock()
		ended = true
		delete(v.late, key)
		return !late
	}
}

// isWorthAsking reports whether the store can be expected to answer in time: it
// is not suspended, and no fetch of the key has kept others waiting in vain.
func (v *vault) isWorthAsking(key serverKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.late[key] && !v.takes.isOpen(time.Now())
}

// bring is one fetch. It outlives the patience of its callers: what it brings
// late is for the next.
func (v *vault) bring(key serverKey, seen *view) (brought int, failed error) {
	wanted := v.batch(key)
	birth := v.core.epoch.Load()
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	for _, place := range v.sealed.places(key) {
		for range maxRounds { // of entries that are of no use
			lacking := wanted - brought
			if lacking <= 0 || ctx.Err() != nil || v.core.closed.Load() {
				break
			}
			entries, err := v.sealed.store.Take(ctx, place, lacking)
			if err != nil && !errors.Is(err, cache.ErrMiss) {
				v.failed(key, "take", err)
				failed = err
			}
			for _, e := range slices.Backward(entries) { // the newest last
				if v.revive(key, seen, place, e, birth) {
					brought++
				}
			}
			if err != nil || len(entries) < lacking {
				break // that was all
			}
		}
	}
	return brought, failed
}

// batch is how many sessions of a key to take at a time: one for each caller
// that waits, or what the near tier lacks.
func (v *vault) batch(key serverKey) int {
	lacking := 1
	if v.near.size > 0 {
		lacking = max(1, v.near.size-v.core.usable(key))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return min(max(lacking, v.waiting[key]), maxBatch, v.core.perServer)
}

// clear clears the store of a scope, or of everything if d is nil. The caller
// has cleared the pool: what is in the writer's hands comes first.
func (v *vault) clear(ctx context.Context, d *domain) error {
	if v == nil || d != nil && d.name == "" {
		return nil
	}
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

// judge tells a breaker how a call of the store went, and the user what the
// breaker makes of it.
func (v *vault) judge(b *breaker, key serverKey, call string, err error) {
	e := Event{Kind: StoreRecovered, Scope: key.domain().name, Server: key.name, Reason: call, Err: err}
	changed := false
	if err == nil {
		changed = b.succeeded()
	} else {
		e.Kind = StoreSuspended
		changed = b.failed(time.Now())
	}
	if changed {
		v.tell(func() { v.core.event(e) })
	}
}

// failed counts and tells what went wrong with the store. It never becomes an
// error of a handshake.
func (v *vault) failed(key serverKey, reason string, err error) {
	v.tell(func() { v.core.storeFailed(key, reason, err) })
}

// tell runs what calls the user, in a goroutine of its own and one after the
// other: the writer must not wait for who may be waiting for it.
func (v *vault) tell(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before, done := v.told, make(chan struct{})
	v.told = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		f()
	}()
}
