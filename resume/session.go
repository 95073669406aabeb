package resume

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// A Session is a handle on a TLS session that was received from a server: an
// SSL_SESSION pointer, with the difference that a handle knows whether it
// holds a reference.
//
// A borrowed handle (Get0Session, callbacks) holds none. The session it names
// may be freed at any moment; the handle then reads Freed and stays safe to
// use. A counted handle (Get1Session, Retain) keeps the session, its ticket
// and its secret until Release, through eviction and the end of its
// connection. A session that was used, failed, expired in the cache or was
// removed keeps its facts but no secret, whoever holds it.
//
// All methods are safe for concurrent use. A nil *Session and the zero value
// name no session and read Unknown.
type Session struct {
	s        *session
	counted  bool        // holds a reference, until Release
	freed    bool        // made of a freed session: counted, with nothing to give back
	released atomic.Bool // per handle: a second Release is this owner's mistake
}

// Status says whether the session can be resumed at this moment. It reads the
// clock: a Resumable session becomes Expired without anybody touching it, and
// one received "in the future" reads Expired, reason clock, until the clock
// has caught up.
func (h *Session) Status() Status {
	switch {
	case h == nil || h.s == nil:
		return Unknown
	case h.freed || h.released.Load() || h.s.refs.Load() == 0:
		return Freed
	}
	return h.s.current(time.Now()).status()
}

// Reason is one stable word on why the session cannot be resumed: no-ticket,
// leased, used, lifetime, max-age, chain-age, leaf-expired,
// client-leaf-expired, clock, ticket-size, no-extended-master-secret,
// handshake, alert, unclean, refused, store, removed, cleared or closed. It is
// empty for a resumable session, except that one which a bound pushed out of
// the cache while somebody holds it reads evicted. A freed session keeps its
// last reason.
func (h *Session) Reason() string {
	if h == nil || h.s == nil {
		return ""
	}
	return h.s.current(time.Now()).reason()
}

// Resumable is Status() == Resumable (SSL_SESSION_is_resumable). The answer
// can be out of date when it arrives: only a dial claims the session.
func (h *Session) Resumable() bool { return h.Status() == Resumable }

// Retain returns a counted handle of its own on the same session
// (SSL_SESSION_up_ref), to be released by its owner. Of a freed session, or
// through a released handle, it returns one that reads Freed; of nil, nil.
func (h *Session) Retain() *Session {
	if h == nil || h.s == nil {
		return nil
	}
	if h.freed || h.released.Load() {
		return &Session{s: h.s, counted: true, freed: true}
	}
	return h.s.countedHandle()
}

// Release gives the reference of this handle back (SSL_SESSION_free). A second
// Release, and the Release of a borrowed handle, panic: the reference belongs
// to somebody else. Release of nil does nothing.
func (h *Session) Release() {
	switch {
	case h == nil || h.s == nil:
	case !h.counted:
		panic("resume: Release of a borrowed Session; only Get1Session and Retain count a reference")
	case h.released.Swap(true):
		panic("resume: Release of a Session handle that was released before")
	case !h.freed:
		h.s.core().handles.Add(-1)
		h.s.release()
	}
}

// Same reports whether both handles name one session. No handle is the same as
// nil.
func (h *Session) Same(other *Session) bool {
	return h != nil && other != nil && h.s != nil && h.s == other.s
}

// Info returns what is known of the session. It never changes and outlives the
// session. For a Pending object it has the connection's facts and no ID.
func (h *Session) Info() ticket.Info {
	if h == nil || h.s == nil {
		return ticket.Info{}
	}
	return h.s.info()
}

// String names the session by the short hash of its ticket and says how it
// stands. It holds no secret.
func (h *Session) String() string {
	if h == nil || h.s == nil {
		return "Session(none)"
	}
	text := h.Status().String()
	if reason := h.Reason(); reason != "" {
		text += ": " + reason
	}
	if !h.s.isNamed() {
		return "Session(" + text + ")"
	}
	return "Session(" + h.Info().ID + " " + text + ")"
}

// Format writes String for every verb, so that no verb reaches a secret.
func (h *Session) Format(f fmt.State, _ rune) { fmt.Fprint(f, h.String()) }

// LogValue is the same for log/slog, as a group.
func (h *Session) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", h.Info().ID),
		slog.String("status", h.Status().String()),
		slog.String("reason", h.Reason()),
	)
}
