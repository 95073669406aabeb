package resume

import (
	"context"
	"sync/atomic"
	"time"
)

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
