package resume

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"
)

// A job is one of three things for the writer to do. They are done in the order
// in which they came: a session is written before it is deleted, and a Flush
// knows that what came before it is done.
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

// enqueue adds jobs, unless more than limit are waiting. All or none: a Flush
// comes with the jobs it waits for.
func (v *vault) enqueue(limit int, jobs ...job) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.queue) >= limit {
		return false
	}
	v.queue = append(v.queue, jobs...)
	if !v.running { // the first job ever
		v.running = true
		go v.write()
	}
	v.more.Signal()
	return true
}

// next waits for jobs and takes the first: one, or several puts of one key,
// which are made together. None when the writer is to end, which it does not
// before the queue is empty. Whoever is flushing by then is to hear how they
// went.
//
// Puts are merged only with their neighbours: a deletion or a Flush in between
// keeps its place. From here on a session may be queued again, so that a Flush
// finds one that is put back after a failure.
func (v *vault) next() (jobs []job, listeners []*flushing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.queue) == 0 && !v.closed {
		v.more.Wait()
	}
	// One call for as many as belong together: with a store across a network a
	// burst of tickets of one server costs one round trip.
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
			j.put.dequeue()
		}
	}
	return jobs, slices.Clone(v.flushes)
}

// goesWith reports whether the writer may put j's session together with the
// first one's.
func (j job) goesWith(first job) bool {
	return j.put != nil && first.put != nil && j.put.key == first.put.key
}

// write is the writer. The channel of a Flush has room for its answer, so that
// one which gave up does not hold the writer up.
func (v *vault) write() {
	defer close(v.stopped)
	for jobs, listeners := v.next(); len(jobs) > 0; jobs, listeners = v.next() {
		var err error
		switch first := jobs[0]; {
		case first.flush != nil:
			v.unlisten(first.flush)
			first.flush.done <- first.flush.err
		case first.drop != nil: // the filing says where, and no longer whose
			err = v.drop(serverKey{}, *first.drop)
		default:
			err = v.put(jobs, len(listeners) > 0)
		}
		// Those who began to flush while this ran wait for what is in the queue
		// behind it, and do not hear of it.
		for _, f := range listeners {
			f.err = errors.Join(f.err, err)
		}
	}
}

// unlisten takes a Flush off the list that await put it on.
func (v *vault) unlisten(f *flushing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flushes = slices.DeleteFunc(v.flushes, func(other *flushing) bool { return other == f })
}

// flush has everything written that is in the pool or the queue, and waits for
// it. What failed before is tried again, and no longer counts. What is held
// back for the near tier is written as well.
func (v *vault) flush(ctx context.Context) error {
	return v.await(ctx, func() []job {
		return v.unwritten(func(serverKey) bool { return true })
	})
}

// unwritten queues what is in the pool alone, of the keys that match: key by
// key, and of each the oldest first, since the last put is the store's newest.
// The pool is locked, a shard at a time, while it looks: so it only counts
// references, and the caller enqueues.
func (v *vault) unwritten(match func(serverKey) bool) (jobs []job) {
	byKey := make(map[serverKey][]job)
	v.core.pool.RemoveIf(func(key serverKey, s *session) bool { // only to see all
		if v.keeps(key) && match(key) && s.filed.Load() == nil && s.queue() {
			byKey[key] = append(byKey[key], job{put: s})
		}
		return false
	})
	for _, of := range byKey {
		slices.SortFunc(of, func(a, b job) int { return cmp.Compare(a.put.serial, b.put.serial) })
		jobs = append(jobs, of...)
	}
	return jobs
}

// unqueue undoes unwritten.
func unqueue(jobs []job) {
	for _, j := range jobs {
		j.put.unqueue()
	}
}

// await adds the jobs that find finds to the queue, however full, and waits
// until the writer has done them and those before them. It listens before it
// looks: what it does not find because it is in the queue counts as well. If
// ctx ends, the jobs stay, and so does the listener, until the writer meets it.
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

// close ends the writer when it has done what it has begun. What comes between
// the flush and the end is still written; after that enqueue takes nothing.
// If ctx ends first, the writer goes on behind Close through the rest of its
// queue, where it finds ended what it has not claimed by then.
//
// What a fetch under way brings belongs in the store again, so the flush waits
// for it, but no longer than a handshake does.
func (v *vault) close(ctx context.Context) error {
	v.mu.Lock()
	v.closing = true
	v.mu.Unlock()
	fetched := make(chan struct{})
	go func() { defer close(fetched); v.fetching.Wait() }()
	select {
	case <-fetched:
	case <-time.After(takeDeadline):
	}
	err := v.flush(ctx)
	v.mu.Lock()
	v.closed = true
	idle := !v.running
	v.mu.Unlock()
	v.more.Signal() // to the writer, the only one who waits for it
	if idle {
		return err // nobody will ever close stopped
	}
	select {
	case <-v.stopped:
	case <-ctx.Done():
	}
	return err
}
