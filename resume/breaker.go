package resume

import (
	"sync"
	"time"
)

// A breaker keeps calls from a store that failed breakAfter times in a row:
// none for breakFirst, then one on trial, and twice as long if that fails, too,
// up to breakMost. There is one for Take and one for Put, since a full store
// can still hand out.
//
// Time is the caller's, and a call that is allowed is one whose outcome is
// told: a trial that was never judged would keep the store away for ever.
type breaker struct {
	mu       sync.Mutex // guards the rest
	failures int        // in a row
	until    time.Time  // no call until then
	trial    bool       // one is under way
}

// allows reports whether a call may be made. Its outcome must then be told, by
// failed or succeeded. Of those who ask when a pause is over, one has the trial.
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

// isOpen reports whether calls are being kept from the store. It takes no
// trial: it is for who has not decided yet to call.
func (b *breaker) isOpen(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= breakAfter && (b.trial || now.Before(b.until))
}

// failed reports whether that opens the breaker. A failure that comes in during
// the pause, of a call that began before it, makes the pause longer as a failed
// trial does.
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

// succeeded reports whether that closes the breaker. One success is enough: a
// store that answers at all may be asked.
func (b *breaker) succeeded() (closes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	closes = b.failures >= breakAfter
	b.failures, b.trial = 0, false
	return closes
}

// pauseAfter doubles a pause with each failure above the first. What has
// doubled 16 times is above any bound here, and a shift without limit would
// overflow.
func pauseAfter(doublings int, first, most time.Duration) time.Duration {
	if doublings < 16 {
		return min(first<<doublings, most)
	}
	return most
}
