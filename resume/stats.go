package resume

import (
	"fmt"
	"log/slog"
	"sync"
)

// Stats counts since the ClientCache was first used. Every ticket that was
// captured is counted once more by what ended it last, so that in every
// snapshot
//
//	Captured == Used + Expired + Evicted + Removed + Failed + Kept
//
// as long as there is no Store. With one, sessions come from there and go
// there, and it is Captured + Fetched on the left, and + Stored on the right.
//
// The numbers are of this process. A session that goes through the store is
// counted where it was captured, as Stored, and where it was fetched, by its
// end.
type Stats struct {
	Captured uint64 // sessions received, those that can never be used included
	Fetched  uint64 // sessions that the store handed out
	Used     uint64 // claimed by a handshake (TLS 1.3)
	Expired  uint64 // dropped because their time was over
	Evicted  uint64 // dropped to keep a bound
	Removed  uint64 // by Remove or Clear
	Failed   uint64 // cannot be used, or their handshake failed
	Kept     uint64 // not ended, as far as anybody has noticed
	Stored   uint64 // moved to the store, and not ended or fetched by a holder since

	Refused   uint64 // values given to Put that are no session of ours to keep
	Missed    uint64 // handshakes that wanted a session and got none
	BackedOff uint64 // of those, because resumptions of the server kept failing
	Shared    uint64 // handshakes that were given a copy of a TLS 1.2 session
	Back      uint64 // leases of TLS 1.3 sessions given back: the ticket was not sent

	Unreadable  uint64 // records of the store that could not be opened or read
	StoreErrors uint64 // calls of the store that failed, or came too late
	Suspended   uint64 // handshakes that did not ask the store, because it kept failing

	// Handshakes that succeeded, as far as the way in can tell: Dialer,
	// NewConn and TLSConfig count, a cache plugged in directly does not.
	Full    uint64
	Resumed uint64

	Handles int   // counted handles (Get1Session, Retain) not yet released
	Servers int   // servers that have a session in the pool
	Pooled  int   // sessions in the pool
	Bytes   int64 // their Info.Size added up
}

// String is one line, of what adds up and what it was for. What was fetched and
// stored is there only where there is a store.
func (s Stats) String() string {
	var fetched, stored string
	if s.Fetched > 0 {
		fetched = fmt.Sprintf(" + fetched %d", s.Fetched)
	}
	if s.Stored > 0 {
		stored = fmt.Sprintf(" + stored %d", s.Stored)
	}
	return fmt.Sprintf("captured %d%s = used %d + expired %d + evicted %d + removed %d + failed %d + kept %d%s; full %d, resumed %d",
		s.Captured, fetched, s.Used, s.Expired, s.Evicted, s.Removed, s.Failed, s.Kept, stored, s.Full, s.Resumed)
}

// LogValue is the same for log/slog, as a group.
func (s Stats) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("captured", s.Captured), slog.Uint64("fetched", s.Fetched),
		slog.Uint64("used", s.Used),
		slog.Uint64("expired", s.Expired), slog.Uint64("evicted", s.Evicted),
		slog.Uint64("removed", s.Removed), slog.Uint64("failed", s.Failed),
		slog.Uint64("kept", s.Kept), slog.Uint64("stored", s.Stored),
		slog.Uint64("full", s.Full), slog.Uint64("resumed", s.Resumed),
	)
}

// A bucket is where a session stands in Stats. Each session is in one.
type bucket uint8

// The zero bucket is where each session begins.
const (
	bucketKept bucket = iota
	bucketUsed
	bucketExpired
	bucketEvicted
	bucketRemoved
	bucketFailed
	bucketStored
	buckets
)

// bucketOf sorts a verdict. A lease counts as kept until its handshake is known
// to have sent the ticket. What a bound pushed out counts as evicted though
// somebody may hold and use it: if he does, it moves on to Used.
func bucketOf(v verdict) bucket {
	switch {
	case v == evicted || v == leasedEvicted || v == pushedOut:
		return bucketEvicted
	case v == stored:
		return bucketStored
	case v.isLeased():
		return bucketKept
	}
	switch v.status() {
	case Used:
		return bucketUsed
	case Expired:
		return bucketExpired
	case Failed:
		return bucketFailed
	case Removed:
		return bucketRemoved
	}
	return bucketKept
}

// A ledger counts under one lock, so that a snapshot adds up: atomics would
// each be right, and their sum wrong. It is held for a few additions. It may be
// taken under a shard's lock, as by fit, and takes none itself.
type ledger struct {
	mu sync.Mutex // guards the rest, and session.bucket

	sessions  [buckets]uint64
	captured  uint64
	fetched   uint64
	refused   uint64
	missed    uint64
	backedOff uint64
	shared    uint64
	back      uint64
	full      uint64
	resumed   uint64

	unreadable  uint64
	storeErrors uint64
	suspended   uint64
}

// capture enters a session that was received (see core.keep for when).
func (l *ledger) capture(s *session) { l.begin(s, &l.captured) }

// fetch is the same for one that the store handed out: where it was captured it
// counts as stored, here or in another process.
func (l *ledger) fetch(s *session) { l.begin(s, &l.fetched) }

// begin enters a session into the books.
func (l *ledger) begin(s *session, counter *uint64) {
	l.mu.Lock()
	*counter++
	s.bucket = bucketKept
	l.sessions[s.bucket]++
	l.mu.Unlock()
}

// move notes that a session has a new verdict: whichever it has when it comes
// to that, so that the last of several changes counts. A Pending object is no
// session yet.
//
// It comes after the compare-and-swap, and not with it: a snapshot in between
// is behind by one change, and adds up all the same. A claim and its return are
// not moved at all, as both count as kept; an evicted session's stays evicted.
func (l *ledger) move(s *session) {
	if !s.isNamed() {
		return
	}
	l.mu.Lock()
	l.sessions[s.bucket]--
	s.bucket = bucketOf(s.verdict.Load())
	l.sessions[s.bucket]++
	l.mu.Unlock()
}

// count is for what happens to no session in particular.
func (l *ledger) count(counter *uint64) {
	l.mu.Lock()
	*counter++
	l.mu.Unlock()
}

// handshake counts one that succeeded.
func (l *ledger) handshake(resumed bool) {
	if resumed {
		l.count(&l.resumed)
	} else {
		l.count(&l.full)
	}
}

// snapshot leaves out what the pool and the handles know.
func (l *ledger) snapshot() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{
		Captured:    l.captured,
		Fetched:     l.fetched,
		Used:        l.sessions[bucketUsed],
		Expired:     l.sessions[bucketExpired],
		Evicted:     l.sessions[bucketEvicted],
		Removed:     l.sessions[bucketRemoved],
		Failed:      l.sessions[bucketFailed],
		Kept:        l.sessions[bucketKept],
		Stored:      l.sessions[bucketStored],
		Refused:     l.refused,
		Missed:      l.missed,
		BackedOff:   l.backedOff,
		Shared:      l.shared,
		Back:        l.back,
		Full:        l.full,
		Resumed:     l.resumed,
		Unreadable:  l.unreadable,
		StoreErrors: l.storeErrors,
		Suspended:   l.suspended,
	}
}

// stats puts three things together that are not read at one moment: what the
// ledger says adds up, while Pooled may differ from Kept by what is under way.
func (c *core) stats() Stats {
	st := c.ledger.snapshot()
	u := c.pool.Usage()
	st.Handles = int(c.handles.Load())
	st.Servers, st.Pooled, st.Bytes = u.Keys, u.Items, u.Bytes
	return st
}
