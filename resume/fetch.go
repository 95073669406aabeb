package resume

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tlsresume/tlsresume/cache"
)

// queueUp counts a caller who needs a session of a key, until the function it
// returns is called: one Take then brings one for each who waits.
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
// If a fetch has begun for this caller, asked is where it tells. Otherwise what
// the writer is just putting is waited for: it is in no place to be taken from
// until the store has it.
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
		return result.Val.(int) > 0 // never an error: bring counts and tells
	case <-ctx.Done():
		v.failed(key, "slow", ctx.Err())
		return false
	}
}

// share is bring, of which there is one at a time for a key. The channel has
// room for the result, so that nobody need read it. A trial that the breaker
// allows is judged once: by the clock if it was late, and else here.
func (v *vault) share(key serverKey, seen *view) <-chan singleflight.Result {
	return v.fetches.DoChan(v.sealed.place(key), func() (any, error) {
		birth, ok := v.enter(key)
		if !ok {
			return 0, nil
		}
		defer v.fetching.Done()
		if !v.takes.allows(time.Now()) {
			return 0, nil
		}
		onTime := v.clock(key)
		brought, err := v.bring(key, seen, birth)
		if onTime() {
			v.judge(&v.takes, key, "take", err)
		}
		return brought, nil
	})
}

// clock takes the time of a fetch. If it has not ended after takeDeadline, that
// is a failure, and nobody else need wait for it.
func (v *vault) clock(key serverKey) (onTime func() bool) {
	ended, late := false, false // both guarded by v.mu
	// The timer and the end race for mu, and one of them decides: the timer
	// that nobody need wait any more, or the end that it came in time.
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

// bring is one fetch. It outlives the patience of its callers, since what a
// store has removed is lost if nobody waits for the answer: what it brings late
// is for the next.
//
// It looks in the places of all keys of the ring, the first first, so that a
// rotation loses nothing (docs/decisions/0011). Whatever a Clear that comes
// from now on was to clear is older than birth, and ends when it arrives.
func (v *vault) bring(key serverKey, seen *view, birth uint64) (brought int, failed error) {
	wanted := v.batch(key)
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	for _, place := range v.sealed.places(key) {
		// Expired or unreadable entries count for nothing, and good ones may
		// lie below them. But one handshake is not to empty a store of what
		// another process may be able to read.
		var early []cache.Entry // what is from the future, in its order
		for range maxRounds {
			lacking := wanted - brought
			if lacking <= 0 || ctx.Err() != nil || v.core.closed.Load() {
				break
			}
			lacking = min(lacking+len(early), maxBatch) // there may be more of those
			entries, err := v.sealed.store.Take(ctx, place, lacking)
			if err != nil && !errors.Is(err, cache.ErrMiss) {
				v.failed(key, "take", err)
				failed = err
			}
			entries = eachOnce(entries)
			// What the writer is putting may have ended since: as soon as it
			// hears from the store, it dooms that.
			if v.isPutting(entries) && !v.awaitWriting(ctx, key) {
				for _, e := range slices.Backward(entries) {
					v.returnEntry(place, e)
				}
				break
			}
			var back []cache.Entry
			// The newest last, as they came: the pool hands out the last put.
			for _, e := range slices.Backward(entries) {
				switch usable, later := v.revive(key, seen, place, e, birth); {
				case usable:
					brought++
				case later:
					back = append(back, e)
				}
			}
			early = append(back, early...)
			if err != nil || len(entries) < lacking {
				break // that was all
			}
		}
		v.returnEarly(key, place, early, birth)
	}
	return brought, failed
}

// eachOnce leaves out what a store hands out a second time in one answer, against
// its contract: both would be offered.
func eachOnce(entries []cache.Entry) []cache.Entry {
	kept := entries[:0:0]
	for _, e := range entries {
		if !slices.ContainsFunc(kept, func(other cache.Entry) bool { return other.ID == e.ID }) {
			kept = append(kept, e)
		}
	}
	return kept
}

// batch is how many sessions of a key to take at a time: one for each caller
// that waits, or what the near tier lacks. More than TicketsPerServer would
// push each other out of the pool.
func (v *vault) batch(key serverKey) int {
	lacking := 1 // also for a prefetch, whose caller does not wait here yet
	if v.near.size > 0 {
		lacking = max(1, v.near.size-v.core.usable(key))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return min(max(lacking, v.waiting[key]), maxBatch, v.core.perServer)
}
