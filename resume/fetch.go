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
			// What the writer is putting may be among them, and have ended
			// since: as soon as it hears from the store, it dooms that.
			if len(entries) > 0 && !v.awaitWriting(ctx, key) {
				for _, e := range slices.Backward(entries) {
					v.returnEntry(place, e)
				}
				break
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
