package resume

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync/atomic"
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
	c.mu.Lock()
	if c.name == "" {
		c.name = key
	}
	c.birth = core.epoch.Load()
	l, at := c.lease, c.key()
	c.mu.Unlock()
	if l == nil {
		var missing string
		l, missing = core.take(at, c.view)
		c.mu.Lock()
		c.lease, c.missing = l, missing
		c.mu.Unlock()
		if l == nil {
			core.event(Event{Kind: SessionMissing, Scope: c.domain.name, Server: at.name, Conn: c, Reason: missing})
			return nil, false
		}
	}
	c.wire.watch.Store(l)
	return l.state, true
}

// Put runs for each session received, and with nil when the handshake failed
// or the session was refused locally: that reaches the lease and nothing else.
func (h *shim) Put(_ string, cs *tls.ClientSessionState) {
	c := (*Conn)(h)
	c.mu.Lock()
	l, f, birth, ended, at := c.lease, c.facts, c.birth, c.ended, c.key()
	c.mu.Unlock()
	switch {
	case cs == nil && l != nil:
		l.failed.Store(true)
	case cs == nil || ended:
	default:
		c.domain.core.capture(cs, origin{
			key:            at,
			birth:          birth,
			fullHandshake:  f.fullHandshake,
			version:        f.version,
			serverName:     c.server,
			alpn:           f.alpn,
			clientNotAfter: c.view.clientNotAfter,
			conn:           c,
		}, time.Now())
	}
}

// key is what the connection's sessions are found under. It runs under the
// lock.
func (c *Conn) key() serverKey {
	return serverKey{domain: c.domain, print: c.view.print, name: c.name}
}

// A wire is the raw connection of a Conn. It looks at the first flight for the
// ticket, since crypto/tls does not say whether it sent it.
type wire struct {
	net.Conn
	owner *Conn
	watch atomic.Pointer[lease] // until the first write
}

// Write notes whether the ticket was sent. What the raw connection did not
// take a byte of was not sent.
func (w *wire) Write(b []byte) (int, error) {
	l := w.watch.Load()
	if l == nil {
		return w.Conn.Write(b)
	}
	w.watch.Store(nil)
	carries := w.owner.view.hello || carriesTicket(b, l.ticket)
	n, err := w.Conn.Write(b)
	if n > 0 && carries {
		l.offered.Store(true)
	}
	return n, err
}

// carriesTicket reports whether a first flight holds the ticket. What it
// cannot read, such as a ClientHello split over several records, it takes for
// one that does: a ticket too many is lost rather than one used twice.
func carriesTicket(flight, ticket []byte) bool {
	const recordHeader, messageHeader = 5, 4 // RFC 8446, Sections 5.1 and 4
	if len(flight) < recordHeader+messageHeader {
		return true
	}
	record := int(binary.BigEndian.Uint16(flight[3:]))
	message := int(binary.BigEndian.Uint32(flight[recordHeader:]) & 0xffffff)
	if messageHeader+message > record {
		return true
	}
	return bytes.Contains(flight, ticket)
}
