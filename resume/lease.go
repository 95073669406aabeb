package resume

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// A lease is a session on its way into one handshake, with a reference.
type lease struct {
	s       *session
	state   *tls.ClientSessionState // what crypto/tls gets
	ticket  []byte                  // what to look for in the first flight
	item    cache.Item[*session]    // its place in the pool
	pooled  bool                    // taken out of the pool, and goes back there
	offered atomic.Bool             // the ticket was in the first flight
	failed  atomic.Bool             // crypto/tls said so by a nil Put
}

// take leases the newest session of a key that fits now, or says what was
// wrong with the last it saw. A connection that knows its endpoint prefers a
// session from there, and takes another as long as the endpoints of the name
// may share their ticket keys.
func (c *core) take(key serverKey, v *view, endpoint string) (*lease, string) {
	now, theirs := time.Now(), v.clock()
	known := c.known(key)
	if endpoint != "" && known.silent(now) {
		c.ledger.count(&c.ledger.missed)
		c.ledger.count(&c.ledger.backedOff)
		return nil, "back-off"
	}
	missing := "none"
	pick := func(s *session) cache.Verdict {
		verdict, why := s.fit(now, theirs)
		if why != "" {
			missing = why
		}
		return verdict
	}
	var item cache.Item[*session]
	ok := false
	if endpoint != "" {
		item, ok = c.pool.TakeFrom(key, endpoint, now, pick)
	}
	if !ok && (endpoint == "" || known.sharesKeys(now)) {
		item, ok = c.pool.Take(key, now, pick)
	} else if !ok && missing == "none" && c.holds(key) {
		missing = "endpoint"
	}
	if !ok {
		known.missed(now)
		c.ledger.count(&c.ledger.missed)
		return nil, missing
	}
	l := &lease{s: item.Value, item: item, pooled: !item.Value.reusable}
	if err := l.open(); err != nil {
		l.s.end(handshakeError)
		c.unpool(l.s)
		c.release(l)
		return nil, "encoding"
	}
	return l, ""
}

// holds reports whether the pool has any session of a key.
func (c *core) holds(key serverKey) bool {
	_, ok := c.pool.Newest(key, nil)
	return ok
}

// fit decides about one session, in the pool and under its lock. A session
// that may be used is claimed here, and nobody else gets it.
func (s *session) fit(now, theirs time.Time) (cache.Verdict, string) {
	if v := s.verdict.Load(); v != live {
		if v.open() {
			return cache.Skip, v.reason // somebody dials with exactly this one
		}
		return cache.Drop, ""
	}
	switch v := s.current(now); {
	case v == clockBack:
		return cache.Skip, v.reason
	case v.status != Resumable:
		s.end(v)
		return cache.Drop, v.reason
	case !theirs.IsZero() && !s.useBy.IsZero() && theirs.After(s.useBy):
		return cache.Skip, overLifetime.reason // crypto/tls would refuse it
	case !theirs.IsZero() && !s.leaf.IsZero() && theirs.After(s.leaf):
		return cache.Skip, overLeaf.reason
	case s.reusable:
		s.retain()
		return cache.Share, ""
	case !s.claim():
		return cache.Skip, leased.reason
	}
	return cache.Take, ""
}

// open makes the state that crypto/tls gets: the one we have, or for TLS 1.2 a
// fresh copy, since one state in two connections is a race (rule T8).
func (l *lease) open() (err error) {
	l.state = l.s.state.Load()
	if l.state == nil {
		return errors.New("resume: session ended") // by Remove or Clear, just now
	}
	if l.s.reusable {
		if l.state, err = copyState(l.state); err != nil {
			return err
		}
		l.s.core.ledger.count(&l.s.core.ledger.shared)
	}
	l.ticket, _, err = l.state.ResumptionState()
	return err
}

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
	l, missing := c.take(key, v, "")
	if l == nil {
		c.event(Event{Kind: SessionMissing, Scope: key.domain.name, Server: key.name, Reason: missing})
		return nil, false
	}
	c.server(key, l.s.info.FullHandshake) // the next ticket continues its chain
	if !l.s.reusable {
		l.s.end(used)
		c.depart(l.s)
	}
	l.s.release()
	return l.state, true
}

// settle ends a lease when the handshake's outcome is known.
func (c *core) settle(l *lease) {
	switch {
	case !l.offered.Load():
		c.giveBack(l)
	case l.s.reusable:
		if l.failed.Load() {
			c.remove(l.s, handshakeError) // RFC 5077, Section 3.2; rule N17
		}
		l.s.release()
	default:
		l.s.end(used)
		if !l.pooled {
			c.unpool(l.s)
		}
		c.release(l)
	}
}

// giveBack makes a session resumable again whose ticket was not sent.
func (c *core) giveBack(l *lease) {
	if l.s.reusable {
		l.s.release() // it was never claimed
		return
	}
	if !l.s.restore() {
		c.release(l)
		return
	}
	c.ledger.count(&c.ledger.back)
	if l.pooled {
		c.pooled(l.s, l.item)
	}
	c.event(Event{Kind: SessionReturned, Session: &l.s.borrowed})
	l.s.release()
}

// release ends the lease of a session that has ended.
func (c *core) release(l *lease) {
	c.depart(l.s)
	l.s.release()
}

// failed is what a nil Put means where it cannot be joined to a handshake
// (docs/decisions/0001): nothing for TLS 1.3, whose sessions are gone when
// they are handed out, and the end of the newest TLS 1.2 session, or a server
// that breaks on it would break on every connection.
func (c *core) failed(key serverKey) {
	s, ok := c.pool.Newest(key, func(s *session) bool { return s.reusable && s.retain() })
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
	if h.s == nil || h.s.key.domain != d || h.s.key.print != v.print || h.s.info.ServerName != serverName {
		return ErrOtherScope
	}
	if !h.Resumable() {
		return notResumable(h)
	}
	return nil
}

func notResumable(h *Session) error {
	if reason := h.Reason(); reason != "" {
		return fmt.Errorf("%w: %s (%s)", ErrNotResumable, h.Status(), reason)
	}
	return fmt.Errorf("%w: %s", ErrNotResumable, h.Status())
}

// leaseOf claims a session that the caller names. It stays in the pool, where
// nobody can take it meanwhile.
func leaseOf(h *Session) (*lease, error) {
	s := h.s
	if h.released.Load() || !s.retain() {
		return nil, notResumable(h)
	}
	if !h.Resumable() || !s.reusable && !s.claim() {
		s.release()
		return nil, notResumable(h)
	}
	l := &lease{s: s}
	if err := l.open(); err != nil {
		s.core.giveBack(l)
		return nil, notResumable(h)
	}
	return l, nil
}
