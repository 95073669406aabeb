package resume

import (
	"fmt"
	"log/slog"
	"time"
)

// EventKind says what happened.
type EventKind int

const (
	// TicketCaptured: a ticket was received. Session is the new session.
	TicketCaptured EventKind = iota + 1

	// TicketRefused: what was given to Put is no session that can be kept.
	// Reason is put-back (the cache had handed it out, or has it already) or
	// unusable (crypto/tls could not resume with it).
	TicketRefused

	// SessionMissing: a handshake wanted a session and got none. Reason is
	// the last thing seen wrong with one (clock, leased, lifetime,
	// leaf-expired, encoding), endpoint (those there are came from endpoints
	// that do not share their keys with this one), back-off, or none.
	SessionMissing

	// SessionReturned: a lease ended without the ticket having been sent, and
	// the session can be resumed again.
	SessionReturned

	// SessionEnded: a session left the cache for good. Its Status and Reason
	// say why. It comes once for each captured session.
	SessionEnded

	// HandshakeDone: a handshake succeeded (Dialer, NewConn and TLSConfig).
	// Reason says why it was a full one: what SessionMissing said, refused
	// (the ticket was offered), not-offered, or warming (Dialer.Warm). It
	// is empty when no session was asked for, and unknown to TLSConfig.
	HandshakeDone

	// BackedOff: several resumed handshakes with Server failed in a row
	// although it answered, and it is offered no session for a while.
	BackedOff

	// SessionStored: a session moved from memory to the store. SessionFetched:
	// the store handed one out.
	SessionStored
	SessionFetched

	// StoreFailed: Err happened to the store. Reason is what was tried: put,
	// take, delete, clear; queue (too much is waiting to be written, so the
	// session stays in memory), slow (a handshake waited long enough and went
	// on without) or unreadable (what the store handed out cannot be opened).
	StoreFailed

	// Cleared: Clear ran on Scope, or on everything.
	Cleared

	// StoreSuspended: the store failed several times in a row and is not asked
	// for a while; Reason is what (take, put), Err its last failure.
	// StoreRecovered: it works again.
	StoreSuspended
	StoreRecovered
)

var eventNames = [...]string{"EventKind(0)", "TicketCaptured", "TicketRefused", "SessionMissing", "SessionReturned", "SessionEnded", "HandshakeDone", "BackedOff", "SessionStored", "SessionFetched", "StoreFailed", "Cleared", "StoreSuspended", "StoreRecovered"}

// String is the name of the constant.
func (k EventKind) String() string {
	if k < 1 || int(k) >= len(eventNames) {
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
	return eventNames[k]
}

// An Event is something that happened in a ClientCache. It carries no ticket,
// secret or certificate, and may be kept; Session is borrowed, and Retain
// makes it last.
type Event struct {
	Kind    EventKind
	Time    time.Time
	Scope   string   // name of the scope; empty for an unnamed one
	Server  string   // key the session is found under
	Session *Session // nil where no session is concerned
	Conn    *Conn    // nil unless the way in is Dialer or NewConn
	Resumed bool     // HandshakeDone
	Reason  string
	Err     error // StoreFailed, may be nil
}

// String is one line without secrets.
func (e Event) String() string {
	s := e.Kind.String()
	if e.Scope != "" {
		s += fmt.Sprintf(" scope=%q", e.Scope)
	}
	if e.Server != "" {
		s += fmt.Sprintf(" server=%q", e.Server)
	}
	if e.Session != nil {
		s += " " + e.Session.String()
	}
	if e.Kind == HandshakeDone {
		s += fmt.Sprintf(" resumed=%t", e.Resumed)
	}
	if e.Reason != "" {
		s += " reason=" + e.Reason
	}
	if e.Err != nil {
		s += fmt.Sprintf(" err=%q", e.Err)
	}
	return s
}

// GoString is String in the form of %#v.
func (e Event) GoString() string { return "resume.Event(" + e.String() + ")" }

// LogValue is the same for log/slog, as a group.
func (e Event) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("kind", e.Kind.String()),
		slog.String("scope", e.Scope),
		slog.String("server", e.Server),
	}
	if e.Session != nil {
		attrs = append(attrs, slog.Any("session", e.Session))
	}
	if e.Kind == HandshakeDone {
		attrs = append(attrs, slog.Bool("resumed", e.Resumed))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("err", e.Err))
	}
	return slog.GroupValue(append(attrs, slog.String("reason", e.Reason))...)
}

// event tells Observe. The caller holds no lock: Observe may call the cache.
func (c *core) event(e Event) {
	if c.observe == nil {
		return
	}
	e.Time = time.Now()
	c.observe(e)
}

// eventOf tells of something that happened to a session, which knows the rest.
// A handle is made if anybody is to get it. Where a session has come or moved,
// the reason why it cannot be resumed at the moment is none for that.
func (c *core) eventOf(s *session, e Event) {
	if c.observe == nil {
		return
	}
	e.Session, e.Scope, e.Server = s.borrow(), s.key.domain().name, s.key.name
	switch e.Kind {
	case TicketCaptured, SessionStored, SessionFetched:
	default:
		e.Reason = e.Session.Reason()
	}
	c.event(e)
}

// storeFailed counts and tells. The key is zero where it is not known any more:
// of a deletion the writer has the place alone.
func (c *core) storeFailed(key serverKey, reason string, err error) {
	c.ledger.count(&c.ledger.storeErrors)
	scope := ""
	if d := key.domain(); d != nil {
		scope = d.name
	}
	c.event(Event{Kind: StoreFailed, Scope: scope, Server: key.name, Reason: reason, Err: err})
}
