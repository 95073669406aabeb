package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// A server is what is remembered of a key with which something was wrong. It
// outlives the sessions, since single use empties a key at every turn. A nil
// *server is one of which nothing is known.
//
// Most keys have none (docs/decisions/0016). The pool that they are in is
// bounded as that of the sessions: one that makes room costs a few wasted
// tickets, until the same is known again.
type server struct {
	mu          sync.Mutex // guards the rest
	apart       time.Time  // until then no session of one endpoint is offered to another
	failures    int        // resumed handshakes that failed, in a row
	silentUntil time.Time  // until then no session is offered

	// refusals says for an endpoint when the last ticket was received that it
	// refused: what is older is as dead, wherever it turns up.
	refusals map[string]time.Time
}

// known returns what is remembered of a key, or nil. Each handshake asks: while
// nothing is wrong with any server, the pool is empty, which it says without a
// lock.
func (c *core) known(key serverKey) *server {
	known, _ := c.servers.Newest(key, nil)
	return known
}

// server is known, and begins to remember if nothing is. The lock is for two
// who begin at once: one would count its failures where nobody looks. A Clear
// may take it away in between, and what is noted then is lost with it.
func (c *core) server(key serverKey) *server {
	if known := c.known(key); known != nil {
		return known
	}
	c.adding.Lock()
	defer c.adding.Unlock()
	if known := c.known(key); known != nil { // somebody else was faster
		return known
	}
	fresh := new(server)
	c.servers.Put(key, cache.Item[*server]{Value: fresh})
	return fresh
}

// silent reports whether resumption is suspended.
func (s *server) silent(now time.Time) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.silentUntil)
}

// sharesKeys reports whether the endpoints may have ticket keys in common, as
// far as anything is known.
func (s *server) sharesKeys(now time.Time) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.apart)
}

// keepApart notes that a session of one endpoint was worthless at another.
func (s *server) keepApart(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apart = now.Add(foreignPause)
}

// refuses notes what an endpoint took no notice of. At the bound all are
// forgotten, which costs a ticket for each that still counted. The latest
// receipt stays, whichever refusal is told of last.
func (s *server) refuses(endpoint string, received time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusals == nil || len(s.refusals) >= maxEndpoints {
		s.refusals = make(map[string]time.Time)
	}
	if received.After(s.refusals[endpoint]) {
		s.refusals[endpoint] = received
	}
}

// refusedSince reports whether an endpoint refused a ticket that it had given
// out no earlier. It is for what the store hands out: in memory refused has
// dropped the siblings.
func (s *server) refusedSince(endpoint string, received time.Time) bool {
	if s == nil || endpoint == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !received.After(s.refusals[endpoint])
}

// succeeded ends a row of failures. Nothing is remembered of a server for it. A
// pause that has begun goes on all the same.
func (s *server) succeeded() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = 0
}

// failed counts a resumed handshake that failed, and reports whether that
// suspends resumption. What fails during a pause began before it, or names its
// session (Dialer.Session), and has been counted enough.
func (s *server) failed(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.silentUntil) {
		return false
	}
	s.failures++
	if s.failures < backOffAfter {
		return false
	}
	s.silentUntil = now.Add(pauseAfter(s.failures-backOffAfter, backOffFirst, backOffMost))
	return true
}

// learn draws its conclusions from how a handshake ended in which a ticket was
// offered. at is the key of the connection and endpoint where it led; broke
// says that the server is to blame.
//
// The first case is a full handshake with a ticket offered. What a
// resumed one shows of the server, its first data do (Conn.judge).
func (c *core) learn(s *session, at serverKey, endpoint string, resumed, broke bool, err error) {
	if s.reusable() {
		c.doubt(s, err)
	}
	switch {
	case err == nil && !resumed:
		c.known(at).succeeded() // to refuse a ticket is no failure
		c.refused(s, at, endpoint)
	case broke:
		c.broke(at)
	}
}

// broke counts a resumed handshake that the server failed. The event comes
// after the lock of the server, and once for each pause.
func (c *core) broke(at serverKey) {
	if c.server(at).failed(time.Now()) {
		c.event(Event{Kind: BackedOff, Scope: at.domain().name, Server: at.name})
	}
}

// doubt drops a TLS 1.2 session with which too many handshakes failed in a row,
// whoever was to blame each time: it would be offered for a day to a server
// that stands still at the sight of it.
func (c *core) doubt(s *session, err error) {
	if err == nil {
		s.failing.Store(0)
	} else if s.failing.Add(1) >= doubtAfter {
		c.remove(s, handshakeError)
	}
}

// serversFault reports whether the failure of a handshake says anything against
// the server: not that somebody's patience was at an end, nor that it has new
// keys for Encrypted Client Hello, which it sends along.
func serversFault(err error) bool {
	if err == nil {
		return false // the usual case, before errors.As costs an allocation
	}
	var rejected *tls.ECHRejectionError
	return !isTimeout(err) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, net.ErrClosed) && !errors.As(err, &rejected)
}

// refused is told that a server took no notice of a ticket and made a full
// handshake. Where the ticket came from, that makes worthless what came from
// there before it (RFC 9149; rule N16): the keys have changed. Elsewhere it
// shows that the endpoints of the name do not share their keys. A ticket of
// unknown origin, or one that the caller chose for another server, proves
// nothing.
func (c *core) refused(s *session, at serverKey, endpoint string) {
	from := s.endpoint
	switch {
	case from == "" || endpoint == "":
	case from == endpoint:
		// The refused one itself, if it is of TLS 1.2; then what the store may
		// have; then what is here.
		if s.reusable() {
			c.remove(s, failedRefused) // who holds it would offer it again
		}
		if c.vault.keeps(s.key) { // which may have more of them
			c.server(s.key).refuses(endpoint, timeOf(s.received))
		}
		// Those received no later, and not in anybody's hands: a handshake that
		// has one finds out by itself. One that somebody else ends at this
		// moment is his to take out.
		c.pool.TakeFrom(s.key, endpoint, time.Time{}, func(sibling *session) cache.Verdict {
			v := sibling.verdict.Load()
			if sibling.received > s.received || v.isLeased() || !sibling.end(failedRefused) && v.open() {
				return cache.Skip
			}
			return cache.Drop
		})
	case s.key == at:
		c.server(at).keepApart(time.Now())
	}
}
