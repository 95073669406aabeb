package resume

import (
	"crypto/tls"
	"sync/atomic"
	"time"
)

// A session is what handles refer to: immutable facts, a verdict, a count of
// references, and as long as it can be resumed the state for crypto/tls.
//
// References: the pool has one, the connection that received it one until it
// ends, a lease one until the handshake's outcome is known, a callback one for
// the call, and every counted handle one. A reference keeps the secret, which
// is why they are counted: the memory is the collector's business, and a handle
// without one can be asked for the facts at any time.
//
// A cache has one for each ticket, so it is laid out to be small: hardly
// anybody asks for a ticket.Info, which alone has more bytes (see pack and
// info).
type session struct {
	key serverKey

	// The secret, which both end and the last release let go of, and whoever
	// opens a lease at that moment either has it or not. Nil from then on.
	state atomic.Pointer[tls.ClientSessionState]

	// Where the store has it; nil: nowhere. Set by the writer or a fetch, and
	// swapped for nil by the one who has it deleted.
	filed atomic.Pointer[filing]

	birth  uint64 // the core's epoch when its handshake began
	serial uint64 // order of receipt

	// What changes, and without a lock, as it does so in the pool (under the
	// shard's) and out of it (under none). Each of them is decided by one
	// operation, so that of several at a time one finds that it was the one.
	verdict atomicVerdict // see verdict
	fate    atomicVerdict // what becomes of it unless it is used; set once
	refs    atomic.Int32  // zero for good: retain does not go up from there
	spoken  atomic.Uint32 // announced and departed; and queued, for the vault's writer
	failing atomic.Int32  // handshakes in a row that failed with it (TLS 1.2)

	bucket bucket // guarded by core.ledger

	// What follows never changes, once the session is known to others.
	flags         uint8
	over          verdict // which limit expires comes from
	certificates  uint8   // if there are no words
	size          uint32  // Info.Size, in bytes
	version       uint16
	cipherSuite   uint16
	endpoint      string
	words         *words  // what is out of the ordinary; or nil
	id            [8]byte // Info.ID
	received      int64   // Unix nanoseconds
	monotonic     int64   // the same by the clock that is never set
	expires       int64   // Unix nanoseconds
	fullHandshake int64   // Unix nanoseconds
	leafNotAfter  int64   // Unix seconds: certificates end as late as 9999
}

// newSession makes a session with one reference, the caller's, who sets the
// rest before anybody else gets to know it.
func (c *core) newSession(key serverKey, v verdict) *session {
	s := &session{key: key}
	s.verdict.Store(v)
	s.refs.Store(1)
	return s
}

// core is the cache that the session belongs to.
func (s *session) core() *core { return s.key.domain().core }

// current is the verdict with everything that time and Clear change about it.
// Clear cannot find a session that is in no pool, so whoever looks at one ends
// it here.
//
// One whose time is over is left to the pool, which ends it when it meets or
// sweeps it, and has RemoveSession called: Status calls nobody.
func (s *session) current(now time.Time) verdict {
	v := s.verdict.Load()
	if v.status() == Resumable {
		if spoiled := s.spoiled(now); spoiled != none {
			v = spoiled
		}
		if v == cleared {
			s.end(v)
		}
	}
	return v
}

// spoiled is what time or a Clear has made of a session that could be resumed;
// none if it still can.
func (s *session) spoiled(now time.Time) verdict {
	if s.isCleared() {
		return cleared
	}
	return s.lapsed(now)
}

// isCleared reports whether a Clear came after the handshake that brought it.
func (s *session) isCleared() bool {
	d := s.key.domain()
	return s.birth < d.core.clearedAt.Load() || s.birth < d.clearedAt.Load()
}

// lapsed is why the session cannot be used at this time, or none. Of the two
// clocks in a time.Time the one that says older counts: the wall clock may be
// set back, and the monotonic one stands still while a machine sleeps.
func (s *session) lapsed(now time.Time) verdict {
	age := now.UnixNano() - s.received
	// By the wall clock alone, from which crypto/tls takes the age that it
	// sends (rule T15).
	if age < -int64(clockSlack) {
		return clockBack
	}
	if steady := monotonic(now); steady != noTime && s.monotonic != noTime {
		age = max(age, steady-s.monotonic)
	}
	if age >= s.expires-s.received {
		return s.over
	}
	return none
}

// claim takes the session for one use. It succeeds for one caller until
// restore, or for ever. All that single use needs is this compare-and-swap:
// where the session is, and who looks at it, does not matter. An evicted one is
// claimed by its holders alone.
func (s *session) claim() bool {
	return s.verdict.CompareAndSwap(live, leased) || s.verdict.CompareAndSwap(evicted, leasedEvicted)
}

// restore undoes claim, by the one who claimed. It fails when the session has
// ended meanwhile: Remove and Clear do not wait for a handshake.
func (s *session) restore() bool {
	return s.verdict.CompareAndSwap(leased, live) || s.verdict.CompareAndSwap(leasedEvicted, evicted)
}

// end gives an open session its last verdict and lets go of the secret. It
// reports whether it was this call that did, which is then to depart. A lease
// under way keeps the state that it has been opened with.
//
// It takes no lock but the ledger's, so it may run under a shard's. The verdict
// comes first: whoever finds the state gone finds out why.
func (s *session) end(v verdict) bool {
	for {
		now := s.verdict.Load()
		if !now.open() {
			return false
		}
		if s.verdict.CompareAndSwap(now, v) {
			s.state.Store(nil)
			s.core().ledger.move(s)
			return true
		}
	}
}

// evict notes that a bound pushed the session out of the pool, and reports
// whether that is the end of it: one that is just being written goes on in the
// store. Whoever holds it may still use it, so its secret stays until the last
// reference goes.
//
// It runs after the pool's lock, when a claim may have come in between: the
// loop turns whatever the session is by then into its twin, which restore and
// unstow know.
func (s *session) evict() bool {
	for {
		now := s.verdict.Load()
		next := now.evicted()
		if next == none { // it has ended, or goes on in the store
			return now != stored && now != reclaiming
		}
		if s.verdict.CompareAndSwap(now, next) {
			s.core().ledger.move(s)
			return now != stowing
		}
	}
}

// retain counts a reference, unless there is none left: who has a
// borrowed handle, say, may come too late.
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

// release gives a reference back. The last one lets go of the secret. Whoever
// opens a lease has a reference, so nobody loses it under his hands. One
// release too many would let go of what is another's: it is a mistake of this
// package.
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
	if s.spoken.Or(queued)&queued != 0 {
		return false
	}
	if !s.retain() {
		s.dequeue()
		return false
	}
	return true
}

// dequeue lets the session be queued again.
func (s *session) dequeue() { s.spoken.And(^uint32(queued)) }

// unqueue undoes queue, when there was no room.
func (s *session) unqueue() {
	s.dequeue()
	s.release()
}

// countedHandle is a new handle with a reference, or one that reads Freed. It
// is counted once more for Stats, which shows what callers forgot to release.
func (s *session) countedHandle() *Session {
	if !s.retain() {
		return &Session{s: s, counted: true, freed: true}
	}
	s.core().handles.Add(1)
	return &Session{s: s, counted: true}
}

// borrow is a handle without a reference; nil for nil.
func (s *session) borrow() *Session {
	if s == nil {
		return nil
	}
	return &Session{s: s}
}
