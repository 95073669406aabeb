package resume

import (
	"context"
	"sync/atomic"
	"time"
)

// reclaim gets a stored session back for who holds it and names it (a Dialer's
// Session, or Session.ClientSessionCache). Of all who try, here and elsewhere,
// the one whose Delete finds it has it; for the others it is used. If the store
// does not say, nobody may use it.
//
// The caller waits takeDeadline at most, as for any other session. The answer
// may come later than that, and if it is yes, the store has it no more: it goes
// to the pool then, for whoever is next.
func (v *vault) reclaim(s *session) bool {
	if v == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeDeadline)
	defer cancel()
	// While it is being written it is in neither place. The writer leaves it
	// stored, or live again, which the caller claims as ever.
	if s.verdict.Load() == stowing && !v.awaitWriting(ctx, s.key) {
		return false
	}
	// Of the callers in this process one asks: the others' compare-and-swap
	// fails, and to them the session is leased. A suspended store is not asked,
	// and keeps it.
	where := s.filed.Load()
	if where == nil || v.takes.isOpen(time.Now()) || !s.verdict.CompareAndSwap(stored, reclaiming) {
		return false
	}
	s.retain() // for the call below, which may outlive this one
	answer := make(chan bool, 1)
	// Who sets left is first, the caller who goes or the answer: the session is
	// then the other's to see to, and never both's or nobody's.
	var left atomic.Bool
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
		if left.Swap(true) { // it came at the same moment, and is ours
			return <-answer
		}
		v.failed(s.key, "slow", ctx.Err())
		return false
	}
}

// askBack is the store's answer to reclaim: the session is leased to us, or it
// is not. After an error it is as it was, whether or not the store has deleted
// it: if it has, the next to ask hears that the session is used.
func (v *vault) askBack(s *session, where filing) bool {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	mine, err := v.sealed.store.Delete(ctx, where.key, where.id)
	switch {
	case err != nil:
		v.failed(s.key, "delete", err)
		s.verdict.CompareAndSwap(reclaiming, stored)
		// Its connection may have failed while it was in hand (core.forfeit).
		if fate := s.fate.Load(); fate != none {
			v.core.remove(s, fate)
		}
		return false
	case !mine: // another process took it, or a bound of the store did
		if s.end(used) {
			v.core.depart(s)
		}
		return false
	}
	s.filed.Store(nil) // or the writer would pass over it when it comes back
	if !s.verdict.CompareAndSwap(reclaiming, leased) {
		return false // ended meanwhile, by Remove or Clear; and gone from the store
	}
	v.core.ledger.move(s)
	return true
}

// awaitWriting waits for the writer's call that is under way, if it is of this
// key, and reports whether it ended in time. A writer that goes on with the
// same key starves nobody: each of its calls has a channel of its own.
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
