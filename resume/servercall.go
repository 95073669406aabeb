package resume

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// call makes a call of the store, and does not wait for it longer than a
// handshake may: what comes later is lost. When several in a row are that slow,
// nobody waits for the store for a while.
//
// The time for a free slot counts as the store's. A store that takes no notice
// of its context fills the slots, and then costs each handshake the wait, until
// the pause. Any answer in time, an error as well, ends a row of slow ones:
// this is about time, and a store that fails fast keeps nobody waiting. Takes
// and puts have a row each, since most handshakes make one of either: a store
// that is quick to take something in, and waits for its replicas to give it
// out, would never be left alone.
func (s *serverStore) call(l *serverLink, name, verb string, f func(context.Context) ([]cache.Entry, error)) ([]cache.Entry, error) {
	began, late := time.Now(), s.row(verb)
	patience := l.patience()
	// Not asked at all: no event, since the one that was too slow had one.
	if until := s.paused.Load(); patience <= 0 || until != nil && began.Before(*until) {
		return nil, errStorePaused
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, s.slow(l, name, late, began, ctx.Err())
	}
	type answer struct {
		entries []cache.Entry
		err     error
	}
	answered := make(chan answer, 1) // with room, as nobody may be there to hear
	go func() {                      // which the handshake may leave behind
		defer func() { <-s.slots }()
		entries, err := f(ctx)
		answered <- answer{entries, err}
	}()
	select {
	case a := <-answered:
		late.Store(0)
		l.wait(time.Since(began))
		if a.err != nil && !errors.Is(a.err, cache.ErrMiss) {
			s.failed(name, verb, a.err)
		}
		return a.entries, a.err
	case <-ctx.Done():
		return nil, s.slow(l, name, late, began, ctx.Err())
	}
}

// errStorePaused is told to nobody: that the store was slow has been.
var errStorePaused = errors.New("resume: the store was too slow just now")

// row counts the calls of a verb that were too slow.
func (s *serverStore) row(verb string) *atomic.Int32 {
	if verb == "take" {
		return &s.lateTakes
	}
	return &s.latePuts
}

// slow notes a call that was not waited for to its end.
func (s *serverStore) slow(l *serverLink, name string, late *atomic.Int32, began time.Time, err error) error {
	now := time.Now()
	l.wait(now.Sub(began))
	// Several in a row: a single slow call is the network's, or this machine's.
	if late.Add(1) >= maxLateCalls {
		until := now.Add(storePause)
		s.paused.Store(&until)
	}
	s.failed(name, "slow", err)
	return err
}

// failed counts and tells what went wrong with the store. Unlike the vault's it
// tells in its caller's goroutine: there is no writer to be held up.
func (s *serverStore) failed(name, reason string, err error) {
	s.core.books.storeFailed(s.core.domain.root.key(name), reason, err)
}

// patience is how long the connection's handshake may still wait for the store.
// It makes two calls: one that is not known may wait half the time for each.
func (l *serverLink) patience() time.Duration {
	if l == nil {
		return takeDeadline / 2
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return takeDeadline - l.waited
}

// wait counts in what a handshake has waited for the store.
func (l *serverLink) wait(d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited += d
}
