package resume

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// A lease is a session on its way into one handshake, with a reference. It
// needs no lock: it is the handshake's, and crypto/tls makes the first write in
// the goroutine that called Get. Whoever looks at it later has waited for the
// handshake.
type lease struct {
	s       *session
	state   *tls.ClientSessionState // what crypto/tls gets
	place   uint32                  // its place in the pool
	pooled  bool                    // taken out of the pool, or of the store; goes to the pool
	offered bool                    // the ticket was in the first flight
}

// ticket is what to look for in the first flight.
func (l *lease) ticket() []byte {
	ticketBytes, _, _ := l.state.ResumptionState() // which was read when it was captured
	return ticketBytes
}

// letGo is the end of a lease, whose reference somebody has given back. Its
// room in a connection lasts longer, and is not to keep a secret.
func (l *lease) letGo() { l.s, l.state = nil, nil }

// fit decides about one session, in the pool and under its lock. A session
// that may be used is claimed here, and nobody else gets it.
//
// Under the lock, since what the pool does with a session and what the verdict
// says are to be one step: claimed after it, a session could be taken out by
// one and leased to another, who holds a handle. It costs little there, calls
// nobody and takes no lock but the ledger's.
//
// A dropped session keeps the pool's reference until core.dropped, after the
// lock, says that it has departed.
func (s *session) fit(now, theirs time.Time) (cache.Verdict, string) {
	if v := s.verdict.Load(); v != live {
		if v.open() {
			// Somebody dials with exactly this one, or it is being written.
			return cache.Skip, v.reason()
		}
		// Whoever has ended it is about to take it out, and comes too late.
		return cache.Drop, ""
	}
	switch v := s.spoiled(now); {
	case v == clockBack: // until the clock has caught up, others may be good
		return cache.Skip, v.reason()
	case v != none:
		s.end(v)
		return cache.Drop, v.reason()
	case !theirs.IsZero() && s.overBy(theirs) != none:
		return cache.Skip, s.overBy(theirs).reason() // crypto/tls would refuse it
	case s.reusable():
		s.retain() // which cannot fail, as the pool has a reference
		return cache.Share, ""
	case !s.claim():
		return cache.Skip, leased.reason()
	}
	return cache.Take, ""
}

// overBy is why crypto/tls would refuse the session by the configuration's
// clock, where that is not ours; or none. It is read from the state again, as
// what the session keeps is by our clock: only who sets Config.Time pays for
// that.
func (s *session) overBy(theirs time.Time) verdict {
	if cs := s.state.Load(); cs != nil {
		ticketBytes, state, _ := cs.ResumptionState()
		var info ticket.Info
		inspect(&info, ticketBytes, state, s.version)
		switch {
		case !info.Expires.IsZero() && theirs.After(info.Expires):
			return overLifetime
		case !info.LeafNotAfter.IsZero() && theirs.After(info.LeafNotAfter):
			return overLeaf
		}
	}
	return none
}

// open makes the state that crypto/tls gets: the one we have, or for TLS 1.2 a
// fresh copy, since one state in two connections is a race (rule T8). It is
// called with the session claimed or shared, outside the pool's lock, since to
// copy takes microseconds (rule T10).
func (l *lease) open() (err error) {
	l.state = l.s.state.Load()
	if l.state == nil {
		return errEnded // by Remove or Clear, just now
	}
	if l.s.reusable() {
		if l.state, err = copyState(l.state); err != nil {
			return err
		}
		l.s.core().ledger.count(&l.s.core().ledger.shared)
	}
	return nil
}

// errEnded stays inside: to the user, take and leaseOf say it in other words.
var errEnded = errors.New("resume: session ended")

// copyState goes through the encoding, the one way to copy a state that is not
// ours to look into. It costs as much as parsing a certificate that nobody has
// in memory, if nobody has.
func copyState(cs *tls.ClientSessionState) (*tls.ClientSessionState, error) {
	ticketBytes, state, err := cs.ResumptionState()
	if err != nil {
		return nil, err
	}
	encoded, err := state.Bytes()
	if err != nil {
		return nil, err
	}
	fresh, err := tls.ParseSessionState(encoded)
	if err != nil {
		return nil, err
	}
	return tls.NewResumptionState(ticketBytes, fresh)
}

// use is take for a caller who cannot say how the handshake ends: the session
// is used at once.
func (c *core) use(key serverKey, v *view) (*tls.ClientSessionState, bool) {
	var l lease
	if missing, ok := c.take(&l, &search{key: key, view: v, now: time.Now()}, false); !ok {
		c.event(Event{Kind: SessionMissing, Scope: key.domain().name, Server: key.name, Reason: missing})
		return nil, false
	}
	// In order: its end, the chain, RemoveSession, the reference. The state is
	// in the lease, whatever becomes of the session's.
	defer l.s.release()
	if !l.s.reusable() {
		l.s.end(used)
		defer c.depart(l.s)
	}
	c.continueChain(key, l.s)
	return l.state, true
}

// settle ends a lease when the handshake's outcome is known; broke says that it
// failed and the server is to blame.
//
// Each way gives the lease's reference back, once, and as the last thing: a
// callback on the way gets a handle that does not read Freed yet.
func (c *core) settle(l *lease, broke bool) {
	switch {
	case !l.offered:
		c.giveBack(l)
	case l.s.reusable():
		defer l.s.release()
		if broke {
			c.remove(l.s, handshakeError) // RFC 5077, Section 3.2; rule N17
		}
	default:
		// Whether or not the server took it: it was seen on the wire (rule N4).
		l.s.end(used)
		if !l.pooled { // leaseOf left it where it was
			c.unpool(l.s)
		}
		c.release(l)
	}
}

// giveBack makes a session resumable again whose ticket was not sent.
//
// It is restored before it is in the pool, or a handshake would find it there
// leased. The fate is looked at when it is back: forfeit notes that first and
// then looks whether the session is leased, so one of the two ends it. The
// store gets it only if it has none.
func (c *core) giveBack(l *lease) {
	if l.s.reusable() {
		l.s.release() // it was never claimed
		return
	}
	if !l.s.restore() {
		c.release(l)
		return
	}
	defer l.s.release()
	c.ledger.count(&c.ledger.back)
	if l.pooled {
		c.pooled(l.s, l.place)
	}
	if fate := l.s.fate.Load(); fate != none {
		c.remove(l.s, fate)
		return
	}
	c.vault.stow(l.s)
	c.eventOf(l.s, Event{Kind: SessionReturned})
}

// release ends the lease of a session that has ended: by the handshake, or
// while that ran. To depart twice is to depart once.
func (c *core) release(l *lease) {
	defer l.s.release()
	c.depart(l.s)
}

// failed is what a nil Put means where it cannot be joined to a handshake
// (docs/decisions/0001): nothing for TLS 1.3, whose sessions are gone when
// they are handed out, and the end of the newest TLS 1.2 session, or a server
// that breaks on it would break on every connection.
func (c *core) failed(key serverKey) {
	s, ok := c.pool.Newest(key, func(s *session) bool { return s.reusable() && s.retain() })
	if !ok {
		return
	}
	defer s.release()
	c.remove(s, handshakeError)
}

// ErrNotResumable says that Dialer.Session cannot be used; the text names its
// Status and Reason. ErrOtherScope says that it belongs to another scope, to a
// configuration that differs in something the scope keeps apart, or to another
// server name.
var (
	ErrNotResumable = errors.New("resume: session is not resumable")
	ErrOtherScope   = errors.New("resume: session belongs to another scope, configuration or server")
)

// belongs checks a session that the caller names against where it is to be
// used. The port may differ.
func belongs(h *Session, d *domain, v *view, serverName string) error {
	if h.s == nil || h.s.key.space != v.space || h.s.serverName() != serverName {
		return ErrOtherScope
	}
	if !h.Resumable() {
		return notResumable(h)
	}
	return nil
}

// notResumable names the Status, as the caller will want to know it. One that
// is stored reads Resumable: that it cannot be had is the store's word.
func notResumable(h *Session) error {
	if h.Resumable() {
		return fmt.Errorf("%w: its cache is closed, or the store that has it did not hand it out", ErrNotResumable)
	}
	if reason := h.Reason(); reason != "" {
		return fmt.Errorf("%w: %s (%s)", ErrNotResumable, h.Status(), reason)
	}
	return fmt.Errorf("%w: %s", ErrNotResumable, h.Status())
}

// leaseOf claims a session that the caller names. It stays in the pool, where
// nobody can take it meanwhile: fit skips what is leased. The reference is
// taken first, or the session could be freed between being found resumable and
// claimed.
//
// A claim may fail because the session is in the store, or on its way there:
// then the store is asked, and the lease is one that goes to the pool.
func leaseOf(h *Session) (*lease, error) {
	s := h.s
	if h.released.Load() || !s.retain() {
		return nil, notResumable(h)
	}
	ok, fromStore := h.Resumable() && !s.core().closed.Load(), false
	if ok && !s.reusable() && !s.claim() {
		fromStore = s.core().vault.reclaim(s)
		ok = fromStore || s.claim() // it was being written, and that failed
	}
	if !ok {
		s.release()
		return nil, notResumable(h)
	}
	l := &lease{s: s, pooled: fromStore}
	if err := l.open(); err != nil {
		s.core().giveBack(l)
		return nil, notResumable(h)
	}
	return l, nil
}
