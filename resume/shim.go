package resume

import (
	"crypto/tls"
	"sync/atomic"
	"time"
)

// A shim is the ClientSessionCache of a Conn, and the configuration that has
// it. One for each connection is what joins a Get, its Put and the handshake,
// which crypto/tls does not. It serves one connection after the other, since a
// clone of the configuration for each was a tenth of what a Conn costs
// (docs/decisions/0017).
//
// crypto/tls calls it in handshakes and reads, which one goroutine makes at a
// time. What Get and verify touch of a Conn without a lock is the handshake's,
// which they are a part of; Put only reads that.
type shim struct {
	config *tls.Config          // does not change
	conn   atomic.Pointer[Conn] // nil between two: a Put then brings nothing
	at     time.Time            // see now; zero: the clock is to be read
}

// shim is for a connection to serverName, unless the configuration names
// another. A used one for another name is dropped rather than looked through
// for: that happens only where a configuration without a name leads to several
// servers.
func (v *view) shim(serverName string) *shim {
	if v.config.ServerName != "" {
		serverName = v.config.ServerName
	}
	if used, _ := v.shims.Get().(*shim); used != nil && used.config.ServerName == serverName {
		return used
	}
	h := &shim{config: v.config.Clone()}
	h.config.ServerName = serverName
	h.config.ClientSessionCache = h
	// Not h.verify itself: the wrapper that a method value is would copy cs.
	h.config.VerifyConnection = func(cs tls.ConnectionState) error { return h.verify(&cs) }
	if h.config.Time == nil {
		h.config.Time = h.now
	}
	return h
}

// now is our clock, and crypto/tls's unless the configuration has its own. It
// is read once for what goes on between two looks at the network: crypto/tls
// alone reads it six times for a resumed connection, and we did four times
// (docs/decisions/0018).
//
// It has no lock, as only handshakes and reads come here.
func (h *shim) now() time.Time {
	if h.at.IsZero() {
		h.at = time.Now()
	}
	return h.at
}

// later lets the clock be read again: time may pass now.
func (h *shim) later() { h.at = time.Time{} }

// lend keeps the shim for another connection. It forgets this one first: a shim
// in the pool is to keep no connection alive, and may be in other hands as soon
// as it is there.
func (h *shim) lend(v *view) {
	h.conn.Store(nil)
	h.later()
	v.shims.Put(h)
}

// Get runs once, when the first handshake begins, in the goroutine that makes
// it. The name, birth and endpoint that it sets are what the sessions are filed
// with that the connection brings.
//
// A callback that panics here (SessionMissing, or RemoveSession of what has
// expired) leaves it by way of crypto/tls to HandshakeContext, which settles.
func (h *shim) Get(key string) (*tls.ClientSessionState, bool) {
	c := h.conn.Load()
	// Once more, after a panic: nobody would settle it, or who will has not come
	// to it yet, and his ticket was sent.
	if c.settled.Load() || !c.wire.sent.IsZero() {
		return nil, false
	}
	core := c.domain.core
	if c.name == "" {
		c.name = key
	}
	c.birth = core.epoch.Load()
	c.endpoint = endpointOf(c.wire.Conn)
	if c.warming {
		c.missing = "warming"
		return nil, false
	}
	if c.lease == nil { // else it is the one that Dialer.Session named
		q := &search{key: c.key(), view: c.view, endpoint: c.endpoint, fetched: c.fetched, now: h.now()}
		if missing, ok := core.take(&c.room, q, true); !ok {
			c.missed(missing)
			return nil, false
		}
		c.lease = &c.room
		if core.vault != nil || core.onRemove != nil || core.observe != nil {
			h.later() // a store or the user may have taken his time
		}
	}
	// The write that may come next, of the ClientHello, is by this goroutine.
	c.wire.watched = c.lease
	return c.lease.state, true
}

// missed notes why the handshake has no session to offer. What take may have
// put into the room before it failed has ended, and its reference is given
// back.
func (c *Conn) missed(why string) {
	c.missing = why
	c.room.letGo()
	c.domain.core.event(Event{Kind: SessionMissing, Scope: c.domain.name, Server: c.name, Conn: c, Reason: why})
}

// Put runs for each session received, and with nil when the handshake failed
// or the session was refused locally: that is for settle to decide, which knows
// more about it.
//
// Of a connection that has ended nothing is captured, as its unclean end could
// not forfeit it any more. If the end comes just after the look at it, the
// session is in the pool, and no connection has it (Conn.receive).
func (h *shim) Put(_ string, cs *tls.ClientSessionState) {
	c := h.conn.Load()
	if cs == nil || c == nil || c.ended.Load() {
		return
	}
	// Also when a callback panics: the session is received by then, and
	// WaitSession is not to wait for another.
	defer c.arrived()
	now := h.now()
	h.later() // NewSession may take its time
	c.domain.core.capture(cs, &origin{
		key: c.key(), birth: c.birth, facts: c.facts, serverName: h.config.ServerName,
		endpoint: c.endpoint, clientNotAfter: c.view.clientNotAfter, conn: c,
	}, now)
}

// verify is the VerifyConnection, which crypto/tls calls for full and for
// resumed handshakes (rule T13). A TLS 1.2 session is received right after it,
// still inside the handshake.
//
// What it hands on to the sessions to come it takes from the lease now, since
// that is forgotten when the handshake ends, before a TLS 1.3 session comes:
// when the chain of resumptions began, which makes its bound exact (rule N11),
// and what such a session inherits.
func (h *shim) verify(cs *tls.ConnectionState) error {
	c := h.conn.Load()
	if callers := c.view.config.VerifyConnection; callers != nil {
		if err := callers(*cs); err != nil {
			if !c.settled.Load() {
				c.objected = true
			}
			return err
		}
	}
	// A renegotiation (RFC 5746), inside a Read: others may be looking at what
	// the first handshake has left. A session that it brings is
	// described by those, and its chain ends the earlier for that.
	if c.settled.Load() {
		return nil
	}
	c.facts = facts{
		version:      cs.Version,
		cipherSuite:  cs.CipherSuite,
		alpn:         cs.NegotiatedProtocol,
		leafNotAfter: leafNotAfter(cs.PeerCertificates).Unix(),
		resumed:      cs.DidResume,
	}
	if cs.DidResume && c.lease != nil {
		c.facts.fullHandshake = c.lease.s.fullHandshake
		c.facts.kin = c.lease.kin()
	} else {
		c.facts.fullHandshake = h.now().UnixNano()
	}
	return nil
}

// key is what the connection's sessions are found under.
func (c *Conn) key() serverKey {
	return serverKey{space: c.view.space, name: c.name}
}
