package resume

import (
	"context"
	"errors"
	"math"
	"sync"

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

	mu      sync.Mutex        // guards the rest
	more    *sync.Cond        // the queue has grown, or closed is set
	queue   []job             // for the writer
	running bool              // there is a writer
	closed  bool              // no more jobs are taken
	stopped chan struct{}     // closed when the writer has ended
	writing serverKey         // what the writer has claimed sessions of
	written chan struct{}     // closed when they are written; nil: none are
	waiting map[serverKey]int // callers who need a session, by key
}

// A job is one of three things for the writer to do.
type job struct {
	put   *session     // write this, of which the job has a reference
	drop  *filing      // or delete this
	flush chan<- error // or tell how all went since the last time
}

func newVault(c *core, sealed *SealedStore) *vault {
	if sealed == nil {
		return nil
	}
	v := &vault{
		core: c, sealed: sealed,
		stopped: make(chan struct{}), waiting: make(map[serverKey]int),
	}
	v.more = sync.NewCond(&v.mu)
	return v
}

// keeps reports whether sessions of a key are stored: those of named scopes,
// since an unnamed one does not outlive the process.
func (v *vault) keeps(key serverKey) bool { return v != nil && key.domain.name != "" }

// stow has a session written. If the queue is full it stays in memory, where
// the next Flush finds it.
func (v *vault) stow(s *session) {
	if !v.keeps(s.key) || !s.verdict.Load().open() || !s.retain() {
		return
	}
	if !v.enqueue(maxQueued, job{put: s}) {
		s.release()
		v.failed(s.key, "queue", nil)
	}
}

// forget deletes a session from the store, if it is there.
func (v *vault) forget(s *session) {
	where := s.filed.Swap(nil)
	if where == nil || v.enqueue(maxQueued, job{drop: where}) {
		return
	}
	v.drop(s.key, *where) // the queue is full, and this must not be forgotten
}

// enqueue adds jobs, unless more than limit are waiting.
func (v *vault) enqueue(limit int, jobs ...job) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.queue) >= limit {
		return false
	}
	v.queue = append(v.queue, jobs...)
	if !v.running {
		v.running = true
		go v.write()
	}
	v.more.Signal()
	return true
}

// next waits for jobs and takes all of them; none when the writer is to end.
func (v *vault) next() []job {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.queue) == 0 && !v.closed {
		v.more.Wait()
	}
	jobs := v.queue
	v.queue = nil
	return jobs
}

// write is the writer. What stands in the queue of one key in a row is put
// together.
func (v *vault) write() {
	defer close(v.stopped)
	var failed error
	for jobs := v.next(); len(jobs) > 0; jobs = v.next() {
		for len(jobs) > 0 {
			n := 1
			switch first := jobs[0]; {
			case first.flush != nil:
				first.flush <- failed
				failed = nil
			case first.drop != nil:
				failed = errors.Join(failed, v.drop(serverKey{}, *first.drop))
			default:
				for n < min(len(jobs), maxBatch) && jobs[n].put != nil && jobs[n].put.key == first.put.key {
					n++
				}
				failed = errors.Join(failed, v.put(jobs[:n]))
			}
			jobs = jobs[n:]
		}
	}
}

// put writes sessions of one key, those that are still there to be written.
func (v *vault) put(jobs []job) error {
	key := jobs[0].put.key
	defer v.begin(key)()
	var sessions []*session
	var entries []cache.Entry
	var failed error
	place := v.sealed.place(key)
	for _, j := range jobs {
		s := j.put
		defer s.release()
		if s.filed.Load() != nil || !s.reusable && !s.verdict.CompareAndSwap(live, stowing) {
			continue // there already, taken or ended
		}
		e, err := v.sealed.entry(place, s)
		if err != nil {
			v.unstow(s)
			failed = errors.Join(failed, err)
			continue
		}
		sessions, entries = append(sessions, s), append(entries, e)
	}
	var err error
	if len(entries) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
		defer cancel()
		err = v.sealed.store.Put(ctx, place, entries...)
	}
	for i, s := range sessions {
		where := filing{place, entries[i].ID}
		switch {
		case err == nil:
			v.stowed(s, where)
		case errors.Is(err, cache.ErrNotStored):
			v.unstow(s)
		default:
			v.recover(s, where)
		}
	}
	if failed = errors.Join(failed, err); failed != nil {
		v.failed(key, "put", failed)
	}
	return failed
}

// recover gets a session back of which nobody knows whether the store has it.
// If the store does not hand it out to us, somebody else may have got it, or
// may get it yet: then it must not be used.
func (v *vault) recover(s *session, where filing) {
	if s.reusable {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDeadline)
	defer cancel()
	if mine, err := v.sealed.store.Delete(ctx, where.key, where.id); mine && err == nil {
		v.unstow(s)
		return
	}
	v.core.remove(s, failedStore)
}

// begin notes that sessions of a key are neither here nor there, until the
// function it returns is called.
func (v *vault) begin(key serverKey) (end func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writing, v.written = key, make(chan struct{})
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		close(v.written)
		v.written = nil
	}
}

// unstow leaves a session where it was: in the pool.
func (v *vault) unstow(s *session) { s.verdict.CompareAndSwap(stowing, live) }

// stowed takes a session that is in the store out of the pool. If it ended
// while it was being written, it is taken out of the store again.
func (v *vault) stowed(s *session, where filing) {
	s.filed.Store(&where)
	if s.isCleared() { // by a Clear that came too early for this one
		s.end(cleared)
	}
	switch {
	case s.reusable && s.verdict.Load().open():
	case !s.reusable && s.verdict.CompareAndSwap(stowing, stored):
		v.core.ledger.move(s)
		v.core.withdraw(s)
	default:
		s.filed.Store(nil)
		v.drop(s.key, where)
		return
	}
	v.core.event(Event{Kind: SessionStored, Session: &s.borrowed})
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
	if where == nil || !s.verdict.CompareAndSwap(stored, reclaiming) {
		return false
	}
	mine, err := v.sealed.store.Delete(ctx, where.key, where.id)
	switch {
	case err != nil:
		v.failed(s.key, "delete", err)
		s.verdict.CompareAndSwap(reclaiming, stored)
		return false
	case !mine:
		s.end(used)
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
func (v *vault) fetch(ctx context.Context, key serverKey, seen *view) bool {
	if !v.awaitWriting(ctx, key) {
		return false
	}
	brought := v.fetches.DoChan(v.sealed.place(key), func() (any, error) {
		return v.bring(key, seen), nil
	})
	select {
	case result := <-brought:
		return result.Val.(int) > 0
	case <-ctx.Done():
		v.failed(key, "slow", ctx.Err())
		return false
	}
}

// bring is one fetch. It outlives the patience of its callers: what it brings
// late is for the next.
func (v *vault) bring(key serverKey, seen *view) (brought int) {
	v.mu.Lock()
	wanted := min(max(1, v.waiting[key]), maxBatch)
	v.mu.Unlock()
	birth := v.core.epoch.Load()
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	for _, place := range v.sealed.places(key) {
		for brought < wanted {
			entries, err := v.sealed.store.Take(ctx, place, wanted-brought)
			if err != nil && !errors.Is(err, cache.ErrMiss) {
				v.failed(key, "take", err)
			}
			for _, e := range entries {
				if v.revive(key, seen, place, e, birth) {
					brought++
				}
			}
			if err != nil || len(entries) == 0 {
				break
			}
		}
	}
	return brought
}

// flush has everything written that is in the pool, and waits for it. What
// failed before is tried again, and no longer counts.
func (v *vault) flush(ctx context.Context) error {
	jobs := []job{{flush: make(chan error, 1)}}
	v.core.pool.RemoveIf(func(key serverKey, s *session) bool { // only to see all
		if v.keeps(key) && s.filed.Load() == nil && s.retain() {
			jobs = append(jobs, job{put: s})
		}
		return false
	})
	return v.await(ctx, jobs...)
}

// await adds jobs to the queue, however full, and waits until the writer has
// done them and those before them.
func (v *vault) await(ctx context.Context, jobs ...job) error {
	done := make(chan error, 1)
	if !v.enqueue(math.MaxInt, append(jobs, job{flush: done})...) {
		for _, j := range jobs {
			if j.put != nil {
				j.put.release()
			}
		}
		return nil // closed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clear clears the store of a scope, or of everything if d is nil. The caller
// has cleared the pool: what is in the writer's hands comes first.
func (v *vault) clear(ctx context.Context, d *domain) error {
	if v == nil || d != nil && d.name == "" {
		return nil
	}
	v.await(ctx)
	var err error
	if d == nil {
		err = v.sealed.store.Clear(ctx)
	} else {
		err = v.sealed.clearScope(ctx, d.name)
	}
	if err != nil {
		v.failed(serverKey{domain: d}, "clear", err)
	}
	return err
}

// close ends the writer when it has done what it has begun.
func (v *vault) close(ctx context.Context) error {
	err := v.flush(ctx)
	v.mu.Lock()
	v.closed = true
	idle := !v.running
	v.mu.Unlock()
	v.more.Signal()
	if idle {
		return err
	}
	select {
	case <-v.stopped:
	case <-ctx.Done():
	}
	return err
}

func (v *vault) drop(key serverKey, where filing) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	_, err := v.sealed.store.Delete(ctx, where.key, where.id)
	if err != nil {
		v.failed(key, "delete", err)
	}
	return err
}

func (v *vault) failed(key serverKey, reason string, err error) {
	v.core.storeFailed(key, reason, err)
}
