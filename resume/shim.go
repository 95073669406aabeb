package resume

import (
	"crypto/tls"
	"time"
)

// A shim is a Conn as the ClientSessionCache of its own tls.Conn. One cache
// for each connection is what joins a Get, its Put and the handshake, which
// crypto/tls does not.
type shim Conn

// Get runs once, when the first handshake begins.
func (h *shim) Get(key string) (*tls.ClientSessionState, bool) {
	c := (*Conn)(h)
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
	if c.lease == nil {
		q := search{key: c.key(), view: c.view, endpoint: c.endpoint, fetched: c.fetched}
		if missing, ok := core.take(&c.room, q, true); !ok {
			c.missed(missing)
			return nil, false
		}
		c.lease = &c.room
	}
	c.wire.watched = c.lease
	return c.lease.state, true
}

// missed notes why the handshake has no session to offer.
func (c *Conn) missed(why string) {
	c.missing = why
	c.room.letGo()
	c.domain.core.event(Event{Kind: SessionMissing, Scope: c.domain.name, Server: c.name, Conn: c, Reason: why})
}

// Put runs for each session received, and with nil when the handshake failed
// or the session was refused locally: that is for settle to decide, which knows
// more about it.
func (h *shim) Put(_ string, cs *tls.ClientSessionState) {
	c := (*Conn)(h)
	if cs == nil || c.ended.Load() {
		return
	}
	defer c.arrived() // also when a callback panics
	c.domain.core.capture(cs, &origin{
		key: c.key(), birth: c.birth, facts: c.facts, serverName: c.config.ServerName,
		endpoint: c.endpoint, clientNotAfter: c.view.clientNotAfter, conn: c,
	}, time.Now())
}

// key is what the connection's sessions are found under.
func (c *Conn) key() serverKey {
	return serverKey{space: c.view.space, name: c.name}
}
