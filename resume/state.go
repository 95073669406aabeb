package resume

import (
	"crypto/tls"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// A session is what handles refer to: immutable facts, a verdict, a count of
// references, and as long as it can be resumed the state for crypto/tls.
//
// References: the pool has one, the connection that received it one until it
// ends, a lease one until the handshake's outcome is known, a callback one for
// the call, and every counted handle one.
type session struct {
	borrowed Session // what Get0 returns; never counted

	core   *core
	key    serverKey
	info   ticket.Info
	useBy  time.Time // by the clock of the configuration (TLS 1.3), as info.LeafNotAfter
	over   *verdict  // which limit info.Expires comes from
	birth  uint64    // the core's epoch when its handshake began
	serial uint64    // order of receipt
	served *served   // nil: a client's session

	verdict atomic.Pointer[verdict]
	refs    atomic.Int64
	state   atomic.Pointer[tls.ClientSessionState] // nil once it cannot be resumed
	filed   atomic.Pointer[filing]                 // where the store has it; nil: nowhere
	fate    atomic.Pointer[verdict]                // what becomes of it unless it is used

	// The small ones stand together: a cache has many sessions.
	spoken   atomic.Uint32 // see announce and depart
	failing  atomic.Int32  // handshakes in a row that failed with it (TLS 1.2)
	queued   atomic.Bool   // for the vault's writer
	bucket   bucket        // guarded by core.ledger
	reusable bool          // TLS 1.2: shared as copies, not used up
}

// newSession makes a session with one reference, the caller's.
func (c *core) newSession(key serverKey, v *verdict) *session {
	s := &session{core: c, key: key}
	s.borrowed.s = s
	s.verdict.Store(v)
	s.refs.Store(1)
	return s
}

// current is the verdict with everything that time and Clear change about it.
// Clear cannot find a session that is in no pool, so whoever looks at one ends
// it here.
func (s *session) current(now time.Time) *verdict {
	v := s.verdict.Load()
	if v.status != Resumable {
		return v
	}
	if s.isCleared() {
		s.end(cleared)
		return cleared
	}
	if lapsed := s.lapsed(now); lapsed != nil {
		return lapsed
	}
	return v
}

// isCleared reports whether a Clear came after the handshake that brought it.
func (s *session) isCleared() bool {
	return s.birth < s.core.clearedAt.Load() || s.birth < s.key.domain.clearedAt.Load()
}

// lapsed is why the session cannot be used at this time, or nil. Of the two
// clocks in a time.Time the one that says older counts: the wall clock may be
// set back, and the monotonic one stands still while a machine sleeps.
func (s *session) lapsed(now time.Time) *verdict {
	age := now.Round(0).Sub(s.info.Received.Round(0))
	if age < -clockSlack {
		return clockBack
	}
	age = max(age, now.Sub(s.info.Received))
	if age >= s.info.Expires.Sub(s.info.Received.Round(0)) {
		return s.over
	}
	return nil
}

// claim takes the session for one use. It succeeds for one caller until
// restore, or for ever.
func (s *session) claim() bool {
	return s.verdict.CompareAndSwap(live, leased) || s.verdict.CompareAndSwap(evicted, leasedEvicted)
}

// restore undoes claim, by the one who claimed. It fails when the session has
// ended meanwhile.
func (s *session) restore() bool {
	return s.verdict.CompareAndSwap(leased, live) || s.verdict.CompareAndSwap(leasedEvicted, evicted)
}

// end gives an open session its last verdict and lets go of the secret. It
// reports whether it was this call that did.
func (s *session) end(v *verdict) bool {
	for {
		now := s.verdict.Load()
		if !now.open() {
			return false
		}
		if s.verdict.CompareAndSwap(now, v) {
			s.state.Store(nil)
			s.core.ledger.move(s)
			return true
		}
	}
}

// evict notes that a bound pushed the session out of the pool, and reports
// whether that is the end of it: one that is just being written goes on in the
// store. Whoever holds it may still use it.
func (s *session) evict() bool {
	for {
		now := s.verdict.Load()
		next := now.evicted()
		if next == nil {
			return true // it has ended
		}
		if s.verdict.CompareAndSwap(now, next) {
			s.core.ledger.move(s)
			return now != stowing
		}
	}
}

// item is the session as the pool keeps it.
func (s *session) item() cache.Item[*session] {
	return cache.Item[*session]{
		Value: s, Size: int64(s.info.Size), Expires: s.info.Expires, Group: s.info.Endpoint,
	}
}

// retain counts a reference, unless there is none left.
func (s *session) retain() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back. The last one lets go of the secret.
func (s *session) release() {
	switch n := s.refs.Add(-1); {
	case n == 0:
		s.state.Store(nil)
	case n < 0:
		panic("resume: a reference was released twice")
	}
}

// queue retains the session for the vault's writer, unless it waits for that
// already: a store that hangs must not make the queue longer with each Flush.
func (s *session) queue() bool {
	if !s.queued.CompareAndSwap(false, true) {
		return false
	}
	if !s.retain() {
		s.queued.Store(false)
		return false
	}
	return true
}

func (s *session) unqueue() {
	s.queued.Store(false)
	s.release()
}

// countedHandle is a new handle with a reference, or one that reads Freed.
func (s *session) countedHandle() *Session {
	if !s.retain() {
		return &Session{s: s, counted: true, freed: true}
	}
	s.core.handles.Add(1)
	return &Session{s: s, counted: true}
}

// borrow is nil for nil.
func (s *session) borrow() *Session {
	if s == nil {
		return nil
	}
	return &s.borrowed
}
