package resume

import "crypto/tls"

// A single is a ClientSessionCache with one session in it.
type single struct{ handle *Session }

// ClientSessionCache returns a cache that offers this session, once, to a
// handshake under its server name (another port is allowed): for what takes a
// plain tls.Config, such as the data connections of FTPS, STARTTLS, database
// drivers and QUIC. A TLS 1.2 session is offered each time, as a copy. A TLS
// 1.3 session is used up when it is asked for, whatever becomes of the
// handshake.
//
// What such a connection receives is kept as if the session's scope were
// plugged in: its configuration is not known, so it is never offered with one
// that is, nor with a client certificate that a scope can see (rule N25).
//
// The cache uses this handle: it offers nothing once the handle is released.
// Of nil, of the zero Session and of a server's session it is a cache that
// keeps nothing.
func (h *Session) ClientSessionCache() tls.ClientSessionCache {
	if h != nil && h.s != nil && h.s.served() != nil {
		return single{}
	}
	return single{h}
}

// Get claims the session. How its handshake ends is not known here, so it is
// settled as one that offered the ticket: for TLS 1.3 it is used, whatever
// happens (rule N4). The chain of the scope's own key goes on from it, since
// that is where Put captures the next ticket (rule N11).
func (c single) Get(serverKey string) (*tls.ClientSessionState, bool) {
	if c.handle == nil || c.handle.s == nil {
		return nil, false
	}
	s := c.handle.s
	if s.serverName() == "" || nameOf(serverKey) != s.serverName() {
		return c.miss(serverKey, "server-name")
	}
	l, err := leaseOf(c.handle)
	if err != nil {
		return c.miss(serverKey, c.handle.Reason())
	}
	l.offered = true
	s.core().continueChain(s.key.domain().scope().key(serverKey), s)
	s.core().settle(l, false)
	return l.state, true
}

// miss is the one answer for all that keeps the session from being offered.
// crypto/tls then makes a full handshake.
func (c single) miss(serverKey, reason string) (*tls.ClientSessionState, bool) {
	d := c.handle.s.key.domain()
	core := d.core
	core.ledger.count(&core.ledger.missed)
	core.event(Event{Kind: SessionMissing, Scope: d.name, Server: serverKey, Reason: reason})
	return nil, false
}

// Put captures as the scope does. A nil is the end of a TLS 1.2 session, which
// would be offered again (RFC 5077, Section 3.2; rule N17).
func (c single) Put(serverKey string, cs *tls.ClientSessionState) {
	switch {
	case c.handle == nil || c.handle.s == nil:
	case cs != nil:
		c.handle.s.key.domain().scope().Put(serverKey, cs)
	case c.handle.s.reusable() && c.handle.s.retain():
		c.handle.s.core().remove(c.handle.s, handshakeError)
		c.handle.s.release()
	}
}
