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
	endpoint := endpointOf(c.wire.Conn)
	c.mu.Lock()
	if c.name == "" {
		c.name = key
	}
	c.birth = core.epoch.Load()
	c.endpoint = endpoint
	l, at := c.lease, c.key()
	if c.warming {
		c.missing = "warming"
	}
	c.mu.Unlock()
	if c.warming {
		return nil, false
	}
	if l == nil {
		l = &c.room
		missing, ok := core.take(l, search{key: at, view: c.view, endpoint: endpoint, fetched: c.fetched}, true)
		c.mu.Lock()
		if c.missing = missing; ok {
			c.lease = l
		}
		c.mu.Unlock()
		if !ok {
			l.letGo()
			core.event(Event{Kind: SessionMissing, Scope: c.domain.name, Server: at.name, Conn: c, Reason: missing})
			return nil, false
		}
	}
	c.wire.watch.Store(l)
	return l.state, true
}

// Put runs for each session received, and with nil when the handshake failed
// or the session was refused locally: that is for settle to decide, which knows
// more about it.
func (h *shim) Put(_ string, cs *tls.ClientSessionState) {
	c := (*Conn)(h)
	c.mu.Lock()
	ended := c.ended
	o := origin{
		key: c.key(), birth: c.birth, facts: c.facts, serverName: c.serverName,
		endpoint: c.endpoint, clientNotAfter: c.view.clientNotAfter, conn: c,
	}
	c.mu.Unlock()
	if cs == nil || ended {
		return
	}
	defer c.arrived() // also when a callback panics
	c.domain.core.capture(cs, &o, time.Now())
}

// key is what the connection's sessions are found under. It runs under the
// lock, or after the handshake, when it does not change any more.
func (c *Conn) key() serverKey {
	return serverKey{space: c.view.space, name: c.name}
}
