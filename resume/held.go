package resume

import (
	"crypto/tls"

	"github.com/tlsresume/tlsresume/ticket"
)

// What a Conn holds of sessions: a reference to the newest maxReceived that it
// received, and one to the session that stands in until the first comes. It
// gives all of them back when it ends, so that a session lives as long as its
// connection for whoever asks the connection for it, and no longer on its
// account.

// current is the session that the accessors return. It runs under the lock. The
// Pending object is made when somebody asks for it: hardly anybody does, and
// each connection would pay for one. It stays, so that all who ask see the
// same.
func (c *Conn) current() *session {
	if c.last != nil {
		return c.last
	}
	if c.before == nil && c.complete {
		c.before = c.pendingSession()
	}
	return c.before
}

// pendingSession is the object that stands for a connection without a ticket.
// It is in no pool and no books, as it has no name (see ledger.move): its one
// reference is the connection's, and if that has ended nobody would give it
// back any more.
func (c *Conn) pendingSession() *session {
	s := c.domain.core.newSession(c.key(), pending)
	s.pack(&ticket.Info{
		ServerName: c.shim.config.ServerName, Version: c.facts.version, CipherSuite: c.facts.cipherSuite,
		ALPN: c.facts.alpn, LeafNotAfter: timeOfSecond(c.facts.leafNotAfter),
		FullHandshake: timeOf(c.facts.fullHandshake), Client: true,
	}, none)
	if c.ended.Load() {
		s.end(noTicket)
		s.release()
	}
	return s
}

// receive notes a session that has just been captured. The connection takes a
// reference until it ends: that is decided under the lock under which giveBack
// ends it, so that none is taken behind its back. The field last needs no
// reference of its own, since the newest of received is the same session; after
// the end its handles may read Freed.
func (c *Conn) receive(s *session) {
	c.mu.Lock()
	c.last = s
	switch {
	case c.ended.Load() || !s.retain():
	case c.received == nil:
		c.first[0] = s
		c.received = c.first[:]
	default:
		c.receiveAnother(s)
	}
	c.mu.Unlock()
}

// receiveAnother is receive for all but the first session. A server can send
// tickets as long as it likes, so the oldest makes room: it stays in the pool,
// and an unclean end of the connection does not forfeit it any more.
func (c *Conn) receiveAnother(s *session) {
	if len(c.received) == maxReceived {
		c.received[0].release()
		c.received = append(c.received[:0], c.received[1:]...)
	}
	c.received = append(c.received, s)
}

// end gives the connection's references back, and its shim to another one, if
// crypto/tls needs that no more: it makes no second handshake in TLS 1.3, and
// no tickets come when nobody reads.
//
// It may be called more than once, as by Close after Shutdown: only the first
// call lends. The references go first, and with them what crypto/tls may still
// read meanwhile, since shim.Put looks at ended. A shim that a read under way
// may call at any moment is left to the collector.
func (c *Conn) end() {
	last, quiet := c.giveBack(), c.reading.bar()
	if last && quiet {
		c.shim.lend(c.view)
	}
}

// giveBack reports whether no handshake can follow, the first time.
//
// It may run while a handshake does, which a Close breaks off. So complete is
// looked at before facts, which are the handshake's until it is set.
func (c *Conn) giveBack() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Swap(true) {
		return false
	}
	for _, s := range c.received {
		s.release()
	}
	c.received = nil
	c.first[0] = nil
	if c.before != nil {
		// The session it was resumed with is not this connection's to end: a
		// handshake does that in TLS 1.3, and in TLS 1.2 it lives on.
		if c.before.verdict.Load() == pending {
			c.before.end(noTicket)
		}
		c.before.release()
	}
	return c.complete && !c.unbound && c.facts.version >= tls.VersionTLS13
}
