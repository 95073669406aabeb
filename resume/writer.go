package resume

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// A job is one of three things for the writer to do.
type job struct {
	put   *session  // write this, of which the job has a reference
	drop  *filing   // or delete this
	flush *flushing // or this has everything behind it
}

// A flushing is a Flush that is under way. Only the writer touches err, which
// is of what it has begun since the Flush was called.
type flushing struct {
	err  error
	done chan error
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

// next waits for jobs and takes the first: one, or several puts of one key,
// which are made together. None when the writer is to end. Whoever is flushing
// by then is to hear how they went.
func (v *vault) next() (jobs []job, listeners []*flushing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.queue) == 0 && !v.closed {
		v.more.Wait()
	}
	n := min(1, len(v.queue))
	for n > 0 && n < min(len(v.queue), maxBatch) && v.queue[n].goesWith(v.queue[0]) {
		n++
	}
	jobs = v.queue[:n:n]
	if v.queue = v.queue[n:]; len(v.queue) == 0 {
		v.queue = nil // lets go of those that are done
	}
	for _, j := range jobs {
		if j.put != nil {
			j.put.dequeue() // from here on it may be queued again
		}
	}
	return jobs, slices.Clone(v.flushes)
}

func (j job) goesWith(first job) bool {
	return j.put != nil && first.put != nil && j.put.key == first.put.key
}

// write is the writer.
func (v *vault) write() {
	defer close(v.stopped)
	for jobs, listeners := v.next(); len(jobs) > 0; jobs, listeners = v.next() {
		var err error
		switch first := jobs[0]; {
		case first.flush != nil:
			v.unlisten(first.flush)
			first.flush.done <- first.flush.err
		case first.drop != nil:
			err = v.drop(serverKey{}, *first.drop)
		default:
			err = v.put(jobs, len(listeners) > 0)
		}
		for _, f := range listeners {
			f.err = errors.Join(f.err, err)
		}
	}
}

func (v *vault) unlisten(f *flushing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flushes = slices.DeleteFunc(v.flushes, func(other *flushing) bool { return other == f })
}

// put writes sessions of one key, those that are still there to be written. It
// leaves them where they are while the store is suspended, unless urged: then
// somebody is waiting for it who set a limit of his own.
func (v *vault) put(jobs []job, urged bool) error {
	key := jobs[0].put.key
	if !urged && v.puts.isOpen(time.Now()) {
		for _, j := range jobs {
			j.put.release()
		}
		return nil
	}
	defer v.begin(key)()
	var sessions []*session
	var entries []cache.Entry
	var failed error
	place := v.sealed.place(key)
	for _, j := range jobs {
		s := j.put
		defer s.release()
		if s.filed.Load() != nil || !s.reusable() && !s.verdict.CompareAndSwap(live, stowing) {
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
		v.puts.allows(time.Now()) // a trial, if it was suspended
		err = v.sealed.store.Put(ctx, place, entries...)
		v.judge(&v.puts, key, "put", err)
	}
	for i, s := range sessions {
		where := filing{place, entries[i].ID}
		switch {
		case err == nil:
			v.stowed(s, where)
		case errors.Is(err, cache.ErrNotStored):
			v.unstow(s)
		default:
			v.salvage(s, where)
		}
	}
	if failed = errors.Join(failed, err); failed != nil {
		v.failed(key, "put", failed)
	}
	return failed
}

// salvage gets a session back of which nobody knows whether the store has it.
// If the store does not hand it out to us, somebody else may have got it, or
// may get it yet: then it must not be used.
func (v *vault) salvage(s *session, where filing) {
	if s.reusable() {
		s.filed.Store(&where) // for whoever is to delete it
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDeadline)
	defer cancel()
	if mine, err := v.sealed.store.Delete(ctx, where.key, where.id); mine && err == nil {
		v.unstow(s)
		return
	}
	v.finish(s, failedStore)
}

// finish ends a session from within the writer.
func (v *vault) finish(s *session, why verdict) {
	if s.end(why) {
		v.core.withdraw(s)
		v.forget(s)
		v.tellEnd(s)
	}
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
func (v *vault) unstow(s *session) {
	if s.verdict.CompareAndSwap(stowing, live) {
		return
	}
	if s.verdict.CompareAndSwap(stowingEvicted, evicted) { // which it has left meanwhile
		v.core.ledger.move(s)
		v.tellEnd(s)
	}
}

// stowed takes a session that is in the store out of the pool. If it ended
// while it was being written, it is taken out of the store again.
func (v *vault) stowed(s *session, where filing) {
	s.filed.Store(&where)
	if s.isCleared() { // by a Clear that came too early for this one
		v.finish(s, cleared)
	}
	switch {
	case s.reusable() && s.verdict.Load().open():
	case !s.reusable() && (s.verdict.CompareAndSwap(stowing, stored) || s.verdict.CompareAndSwap(stowingEvicted, stored)):
		v.core.ledger.move(s)
		v.core.withdraw(s)
	case s.verdict.Load() == closed: // by a Close that did not wait; it is stored all the same
	default:
		s.filed.Store(nil)
		v.drop(s.key, where)
		return
	}
	v.tellOf(SessionStored, s)
}

// flush has everything written that is in the pool or the queue, and waits for
// it. What failed before is tried again, and no longer counts.
func (v *vault) flush(ctx context.Context) error {
	return v.await(ctx, func() []job {
		return v.unwritten(func(serverKey) bool { return true })
	})
}

// unwritten queues what is in the pool alone, of the keys that match.
func (v *vault) unwritten(match func(serverKey) bool) (jobs []job) {
	v.core.pool.RemoveIf(func(key serverKey, s *session) bool { // only to see all
		if v.keeps(key) && match(key) && s.filed.Load() == nil && s.queue() {
			jobs = append(jobs, job{put: s})
		}
		return false
	})
	return jobs
}

func unqueue(jobs []job) {
	for _, j := range jobs {
		j.put.unqueue()
	}
}

// await adds the jobs that find finds to the queue, however full, and waits
// until the writer has done them and those before them. It listens before it
// looks: what it does not find because it is in the queue counts as well.
func (v *vault) await(ctx context.Context, find func() []job) error {
	f := &flushing{done: make(chan error, 1)}
	v.mu.Lock()
	v.flushes = append(v.flushes, f)
	v.mu.Unlock()
	jobs := find()
	if !v.enqueue(math.MaxInt, append(jobs, job{flush: f})...) {
		unqueue(jobs)
		v.unlisten(f)
		return nil // closed
	}
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
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

// drop deletes from the store. Whether it was there does not matter.
func (v *vault) drop(key serverKey, where filing) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	mine, err := v.sealed.store.Delete(ctx, where.key, where.id)
	if err != nil {
		v.failed(key, "delete", err)
	}
	if mine {
		v.spare(where)
	} else { // a fetch may have it, which takes no longer than this
		time.AfterFunc(2*writeDeadline, func() { v.spare(where) })
	}
	return err
}
