package resume

import (
	"sync"
	"time"
)

// A breaker keeps calls from a store that failed breakAfter times in a row:
// none for breakFirst, then one on trial, and twice as long if that fails, too,
// up to breakMost. There is one for Take and one for Put, since a full store
// can still hand out.
type breaker struct {
	mu       sync.Mutex // guards the rest
	failures int        // in a row
	until    time.Time  // no call until then
	trial    bool       // one is under way
}

// allows reports whether a call may be made. Its outcome must then be told.
func (b *breaker) allows(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures < breakAfter:
		return true
	case b.trial || now.Before(b.until):
		return false
	}
	b.trial = true
	return true
}

// isOpen reports whether calls are being kept from the store.
func (b *breaker) isOpen(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= breakAfter && (b.trial || now.Before(b.until))
}

// failed reports whether that opens the breaker.
func (b *breaker) failed(now time.Time) (opens bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	b.trial = false
	if b.failures >= breakAfter {
		b.until = now.Add(pauseAfter(b.failures-breakAfter, breakFirst, breakMost))
	}
	return b.failures == breakAfter
}

// succeeded reports whether that closes the breaker.
func (b *breaker) succeeded() (closes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	closes = b.failures >= breakAfter
	b.failures, b.trial = 0, false
	return closes
}

// pauseAfter doubles a pause with each failure above the first.
func pauseAfter(doublings int, first, most time.Duration) time.Duration {
	if doublings < 16 {
		return min(first<<doublings, most)
	}
	return most
}
