package resume

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// A serverListener makes the connections of a ServerCache.
type serverListener struct {
	net.Listener
	core *serverCore
	view *serverView
}

// Accept returns a *tls.Conn over a serverWire, with a configuration of its
// own: that is what joins the calls of WrapSession and UnwrapSession to a
// connection, which crypto/tls does not. It makes no handshake, which would
// keep the next client waiting.
func (l *serverListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	link := &serverLink{core: l.core}
	link.wire = serverWire{Conn: raw, link: link}
	return tls.Server(&link.wire, l.view.config(link)), nil
}

// A serverWire is the raw connection below an accepted one. By it the
// connection is found again, and it sees the end.
type serverWire struct {
	net.Conn
	link *serverLink
}

// NetConn returns what the inner listener accepted.
func (w *serverWire) NetConn() net.Conn { return w.Conn }

// Close lets go of the connection's sessions. crypto/tls calls it, whoever
// closes the *tls.Conn, which is not ours to wrap: net/http looks for one.
func (w *serverWire) Close() error {
	defer w.link.end()
	return w.Conn.Close()
}

// A serverLink is what a ServerCache knows of a connection. A nil link stands
// for one that is not known.
//
// crypto/tls calls the hooks one after the other, but the accessors and Close
// come from anywhere. mu is held for moments, and no callback runs under it;
// the last release of a session, which only drops its secret, may.
type serverLink struct {
	core *serverCore
	wire serverWire

	mu      sync.Mutex    // guards the rest
	looked  bool          // a ticket was looked up
	missing string        // why it gave no session
	waited  time.Duration // for the store, in all
	used    *session      // what UnwrapSession returned, with a reference
	sent    *session      // the last one sent, with a reference
	own     *session      // a Pending object, with a reference
	facts   tls.ConnectionState
	known   bool // there are facts
	ended   bool
}

// linkOf is the link of what a listener of this cache accepted, found by way of
// the raw connection (rule T19); nil for any other.
func (c *serverCore) linkOf(conn net.Conn) *serverLink {
	outer, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	wire, ok := outer.NetConn().(*serverWire)
	if !ok || wire.link.core != c {
		return nil
	}
	return wire.link
}

// endpoint is the client's address.
func (l *serverLink) endpoint() string {
	if l == nil {
		return ""
	}
	return endpointOf(l.wire.Conn)
}

// look reports whether a ticket may be looked up: one of a ClientHello, which
// may carry several, so that a hello costs one look-up at most
// (docs/decisions/0013).
func (l *serverLink) look() bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.looked = true }()
	return !l.looked // and from now on it has been
}

// miss notes why a ticket gave no session. Of several the first that was looked
// up counts: a stranger's was not.
func (l *serverLink) miss(reason string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.missing == "" || l.missing == missStranger {
		l.missing = reason
	}
}

// hold puts a session in one of the link's places, until the connection ends.
// The caller has a reference, so that there is one to count from.
func (l *serverLink) hold(place **session, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	s.retain()
	if before := *place; before != nil {
		before.release()
	}
	*place = s
}

// send notes a session that is being sent, for the accessors.
func (l *serverLink) send(s *session) {
	if l != nil {
		l.hold(&l.sent, s)
	}
}

// resume notes which session the connection is about to resume: crypto/tls may
// still decline it, and says so by no word but a handshake that did not resume.
func (v *serverView) resume(l *serverLink, cs *tls.ConnectionState, s *session, now time.Time) {
	if l != nil {
		l.hold(&l.used, s)
		return
	}
	v.core.chains.begin(chainKey{v, cs.ServerName, cs.Version, s.info().ClientLeaf}, descentOf(s), now)
}

// descent is how the connection's sessions come from a full handshake.
func (v *serverView) descent(l *serverLink, cs *tls.ConnectionState, now time.Time) descent {
	if !cs.DidResume {
		return descent{fullHandshake: now}
	}
	if l == nil { // the certificate is that of the session, which crypto/tls hands on
		return v.core.chains.end(chainKey{v, cs.ServerName, cs.Version, clientLeaf(cs)}, now)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == nil { // the connection ended meanwhile
		return descent{fullHandshake: now}
	}
	d := descentOf(l.used)
	d.resumptions++
	return d
}

// verified is VerifyConnection: all that is known of a connection is known
// now. What a connection was sent that the user refuses ends with it: in TLS
// 1.3 crypto/tls sends the ticket before it asks, unless it has asked the
// client for a certificate, and in TLS 1.2 after.
//
// The user's hook runs first and outside locks; a handshake that it refuses is
// not counted.
func (v *serverView) verified(l *serverLink, cs *tls.ConnectionState) error {
	if v.verify != nil {
		if err := v.verify(*cs); err != nil {
			l.refused()
			return err
		}
	}
	c := v.core
	c.books.ledger.handshake(cs.DidResume)
	done := Event{Kind: HandshakeDone, Scope: c.domain.name, Server: cs.ServerName, Resumed: cs.DidResume}
	if l != nil {
		l.mu.Lock()
		l.facts, l.known = *cs, true
		switch {
		case cs.DidResume:
			done.Session = l.used.borrow()
		case l.used != nil: // crypto/tls did not want it
			done.Reason = missDeclined
		default:
			done.Reason = l.missing
		}
		l.mu.Unlock()
	}
	c.books.event(done)
	return nil
}

// refused ends what the connection was sent: its handshake fails. The client
// may have the ticket already, and present it: until the store has said that it
// is deleted, that is a race which the store decides.
func (l *serverLink) refused() {
	if l == nil {
		return
	}
	// Ended outside the lock, since that calls the user.
	l.mu.Lock()
	s := l.sent
	ok := s != nil && !l.ended && s.retain()
	l.mu.Unlock()
	switch {
	case !ok:
	case s.filed.Load() != nil:
		go func() { // the store may take its time, and the handshake fails now
			defer s.release()
			l.core.end(s, handshakeError)
		}()
	default:
		defer s.release()
		l.core.end(s, handshakeError)
	}
}

// session is what Get0Session returns. A session that was sent comes before the
// one that was resumed, since it is the one that can be resumed next. Without
// one nothing is certain before VerifyConnection.
func (l *serverLink) session() *session {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.sent != nil:
		return l.sent
	case !l.known:
		return nil
	case l.facts.DidResume && l.used != nil:
		return l.used
	case l.own == nil && !l.ended: // for the first who asks
		l.own = l.core.pendingOf(l)
	}
	return l.own
}

// pendingOf is a connection without a session, with its facts. It runs under
// the link's lock.
func (c *serverCore) pendingOf(l *serverLink) *session {
	s := c.bare(l.facts.ServerName, l.facts.Version, pending)
	info := ticket.Info{
		Version: l.facts.Version, CipherSuite: l.facts.CipherSuite,
		Certificates: len(l.facts.PeerCertificates), LeafNotAfter: leafNotAfter(l.facts.PeerCertificates),
	}
	describe(&info, &l.facts, l)
	s.pack(&info, none)
	return s
}

// end lets the references go. The places are not cleared: the accessors'
// handles then read Freed, rather than that there was no session.
func (l *serverLink) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	for _, s := range []*session{l.used, l.sent, l.own} {
		if s != nil {
			s.release()
		}
	}
	if l.own != nil {
		l.own.end(noTicket)
	}
}
