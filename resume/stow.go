package resume

import (
	"context"
	"errors"
	"slices"
	"time"
	"weak"

	"github.com/tlsresume/tlsresume/cache"
)

// What becomes of a session that is written, step by step, and what is left if
// the process dies there:
//
//	live     in the pool; lost
//	stowing  the writer has claimed it, and the store may have it; lost or kept
//	stored   the store has said so, and the pool lets go of it; kept
//
// In none of them can two have it: who takes from the pool takes what is live,
// and who takes from the store takes what the pool cannot give any more.

// put writes sessions of one key, those that are still there to be written. It
// leaves them where they are while the store is suspended, unless urged: then
// somebody is waiting for it who set a limit of his own.
//
// The order matters: that it is writing is known before a session is claimed,
// or a handshake that finds none to take would not know what to wait for.
func (v *vault) put(jobs []job, urged bool) error {
	key := jobs[0].put.key
	if !urged && v.puts.isOpen(time.Now()) {
		for _, j := range jobs {
			j.put.release()
		}
		return nil
	}
	defer v.begin(key)() // and its end, when all that follows is settled
	var sessions []*session
	var entries []cache.Entry
	var failed error
	place := v.sealed.place(key)
	for _, j := range jobs {
		s := j.put
		defer s.release()
		if s.filed.Load() != nil || !s.reusable() && !s.verdict.CompareAndSwap(live, stowing) {
			continue // there already, taken, pushed out or ended
		}
		e, err := v.sealed.entry(place, s)
		if errors.Is(err, errEnded) { // just now, or TLS 1.2's in the queue
			continue
		}
		if err != nil { // crypto/tls cannot encode it, or there is no key
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
		v.calls(entries)
		v.puts.allows(time.Now()) // a trial, if it was suspended; urged or not
		err = v.sealed.store.Put(ctx, place, entries...)
		v.judge(&v.puts, key, "put", err)
	}
	for i, s := range sessions {
		where := filing{place, entries[i].ID}
		switch {
		case err == nil:
			v.stowed(s, where)
		case errors.Is(err, cache.ErrNotStored): // for certain
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
// may get it yet: then it must not be used. A TLS 1.2 session may be used by
// any number, so nothing is at stake, and to be on the safe side it counts as
// stored.
func (v *vault) salvage(s *session, where filing) {
	if s.reusable() {
		s.filed.Store(&where)         // for whoever is to delete it
		if !s.verdict.Load().open() { // who was here before that
			v.discard(s, where)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDeadline)
	defer cancel()
	if mine, err := v.sealed.store.Delete(ctx, where.key, where.id); mine && err == nil {
		v.unstow(s) // it was there, and nobody else can have it now
		return
	}
	// Not there: taken before we asked, or on its way there still.
	if v.finish(s, failedStore); s.verdict.Load() != failedStore {
		v.discard(s, where) // it had ended before, and is to come back to nobody
	}
}

// discard deletes a session that ended while it was being written: whoever
// ended it did not know where it would be. A fetch may have it, and waits for
// us.
func (v *vault) discard(s *session, where filing) {
	s.filed.Store(nil)
	v.doom(where, s.verdict.Load())
	v.drop(s.key, where)
}

// finish is core.remove for goroutines of the vault, which must not call the
// user (see tell).
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
		v.written, v.putting = nil, nil
	}
}

// calls notes what the store is about to be called with: from now on others may
// find it there.
func (v *vault) calls(entries []cache.Entry) {
	putting := make(map[string]bool, len(entries))
	for _, e := range entries {
		putting[e.ID] = true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.putting = putting
}

// isPutting reports whether any of these entries is in the writer's hands: it
// does not know yet that the store has it.
func (v *vault) isPutting(entries []cache.Entry) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(entries, func(e cache.Entry) bool { return v.putting[e.ID] })
}

// unstow leaves a session where it was: in the pool. If a bound has pushed it
// out meanwhile, that had waited for the outcome (see session.evict), and is
// its end now.
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
// while it was being written, it is taken out of the store again, before the
// writer says that it has written: fetches of the key wait for that.
//
// Where it is stored is noted before its verdict says that it is, since whoever
// reads the verdict looks for the place.
func (v *vault) stowed(s *session, where filing) {
	s.filed.Store(&where)
	if s.isCleared() { // by a Clear that came too early for this one
		v.finish(s, cleared)
	}
	switch {
	case s.reusable() && s.verdict.Load().open(): // in both places from now on
	case !s.reusable() && (s.verdict.CompareAndSwap(stowing, stored) || s.verdict.CompareAndSwap(stowingEvicted, stored)):
		v.core.ledger.move(s)
		v.core.withdraw(s)
	case s.verdict.Load() == closed: // by a Close that did not wait; it is stored all the same
	default:
		v.discard(s, where)
		return
	}
	v.tellOf(SessionStored, s)
}

// drop deletes from the store. Whether it was there does not matter, except
// for how long it stays doomed: if it was, nobody has it who might bring it
// back.
func (v *vault) drop(key serverKey, where filing) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	mine, err := v.sealed.store.Delete(ctx, where.key, where.id)
	switch {
	case mine:
		v.spare(where)
	case err == nil: // a fetch may have it, which takes no longer than this
		v.spareAfter(2*writeDeadline, where)
	default: // it may be there as long as any ticket is
		v.failed(key, "delete", err)
		v.spareAfter(maxTicketAge, where)
	}
	return err
}

// spareAfter keeps no cache alive that nobody uses any more.
func (v *vault) spareAfter(d time.Duration, where filing) {
	if v.doomOf(where) == none {
		return
	}
	held := weak.Make(v)
	time.AfterFunc(d, func() {
		if v := held.Value(); v != nil {
			v.spare(where)
		}
	})
}
