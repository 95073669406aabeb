package resume

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// wrap is WrapSession: it makes a session of what crypto/tls is about to send
// a ticket for, and returns the ticket. It never fails, as that would end the
// connection: a session that cannot be kept gets a ticket that resumes nothing.
//
// The state of a TLS 1.3 session in memory is the one crypto/tls made, not a
// copy by way of its encoding: it is made anew for each ticket and forgotten by
// its maker, and one connection gets it back. So nothing is shared as in rule
// T8.
func (v *serverView) wrap(l *serverLink, cs *tls.ConnectionState, state *tls.SessionState) []byte {
	c := v.core
	if c.closed.Load() {
		return deadHandle()
	}
	// Also here: what is made where EarlyData is off does not accept 0-RTT
	// where it is on.
	state.EarlyData = state.EarlyData && c.earlyData
	now := time.Now()
	descent := v.descent(l, cs, now)
	if descent.removed { // TLS 1.2's ticket is for the same master secret
		return deadHandle()
	}
	if c.keyring != nil {
		return c.sendSealed(l, v.context(cs), cs, state, descent, now)
	}
	if c.store != nil {
		if t, ok := c.store.send(l, v.context(cs), cs, state, descent, now); ok {
			return t
		}
		// Here, then, under another handle: this server can still resume it.
	}
	var t handle
	key := v.fill(&t, cs, state)
	if cs.DidResume && cs.Version < tls.VersionTLS13 {
		if c.sendAgain(l, key) {
			return t[:]
		}
		if c.store == nil || l != nil && v.descent(l, cs, now).removed { // meanwhile
			return deadHandle()
		}
	}
	s := c.newServed(t[:], state, cs, descent, l, now)
	defer s.release()
	s.served().key = key
	c.books.ledger.capture(s)
	if why := s.unresumable(now); why != none {
		s.end(why) // it is sent all the same: crypto/tls wants a ticket
	} else if held, err := tls.NewResumptionState(t[:], state); err == nil {
		s.state.Store(held)
		s.refs.Add(1) // the pool's; before it can be taken
		c.pool.Put(key, cache.Item[*session]{Value: s, Size: s.footprint(), Expires: timeOf(s.expires)})
		if c.closed.Load() { // and close may have passed it by
			c.end(s, closed)
		}
	}
	c.sent(l, s)
	return t[:]
}

// sendAgain reports whether a TLS 1.2 session that has just been resumed is in
// memory: then it is the same session, with the same ticket. Many clients do not
// notice what comes with a resumed TLS 1.2 connection.
func (c *serverCore) sendAgain(l *serverLink, key handleKey) bool {
	s, ok := c.pool.Newest(key, (*session).retain)
	if !ok {
		return false
	}
	defer s.release()
	l.send(s)
	return true
}

// newServed makes a session of a ticket and its state, with one reference, the
// caller's. It does not count it: a store may refuse it yet.
func (c *serverCore) newServed(t []byte, state *tls.SessionState, cs *tls.ConnectionState, d descent, l *serverLink, now time.Time) *session {
	s := c.bare(cs.ServerName, cs.Version, live)
	s.name(t)
	info := s.look(t, state, cs)
	describe(&info, cs, l)
	info.Received, info.FullHandshake, info.Resumptions = now, d.fullHandshake, d.resumptions
	s.setExpiry(info, c.lifetime)
	return s
}

// look is what ticket.Inspect says but for the ID. Of most sessions the
// connection says it, too, and it costs less to ask that: all but the secret
// has a fixed length (rule T9).
func (s *session) look(t []byte, state *tls.SessionState, cs *tls.ConnectionState) (info ticket.Info) {
	// What may be longer than usual, or says more than the connection does.
	if s.reusable() || len(cs.PeerCertificates) > 0 || len(state.Extra) > 0 || state.EarlyData {
		inspect(&info, t, state, cs.Version)
		return info
	}
	secret := sha256.Size
	if cs.CipherSuite == tls.TLS_AES_256_GCM_SHA384 {
		secret = sha512.Size384
	}
	info.Version, info.CipherSuite = cs.Version, cs.CipherSuite
	// Version, type, suite, time; the secret and its length; no Extra; two
	// flags; no certificates and no chains.
	// TestSessionsAreKnownAsInspectKnowsThem tells if a Go release changes
	// that.
	info.Size = len(t) + 2 + 1 + 2 + 8 + 1 + secret + 3 + 1 + 1 + 3 + 3
	return info
}

// bare is a session of which nothing is known yet. It is one allocation of
// three things that always go together here, where a client's session seldom
// has words.
func (c *serverCore) bare(name string, version uint16, v verdict) *session {
	both := new(struct {
		session
		words
		served
	})
	s := &both.session
	s.key, s.words, both.words.served = c.domain.root.key(name), &both.words, &both.served
	s.serial = c.books.serial.Add(1)
	s.allowReuse(version)
	s.verdict.Store(v)
	s.refs.Store(1)
	return s
}

// unresumable is why a session can never be resumed, or none: crypto/tls would
// decline it each time, or it is past its time when it begins, as one is that
// is sent at the end of a chain.
func (s *session) unresumable(now time.Time) verdict {
	if s.reusable() && s.flags&extendedMasterSecret == 0 {
		return noMasterSecret // RFC 7627, Section 5.3; rule N21
	}
	return s.lapsed(now)
}

// describe adds what the connection says.
func describe(info *ticket.Info, cs *tls.ConnectionState, l *serverLink) {
	info.ServerName, info.ALPN = cs.ServerName, cs.NegotiatedProtocol
	info.Endpoint = l.endpoint()
	if info.ClientLeaf == "" { // as it is unless the session says it
		info.ClientLeaf = clientLeaf(cs)
	}
}

// clientLeaf names the client's certificate. Its hash is as good to look for in
// Info, or to tell chains apart, and keeps no certificate alive.
func clientLeaf(cs *tls.ConnectionState) string {
	if len(cs.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:])
}

// setExpiry notes an Info, and works out when a server's session expires and
// which limit that is. The chain of resumptions is bounded as the client's is
// (rules N11 and N20).
func (s *session) setExpiry(info ticket.Info, lifetime time.Duration) {
	maxChain := time.Duration(defaultMaxChainAge)
	if s.reusable() {
		lifetime, maxChain = min(lifetime, maxSessionAge), maxSessionAge
	}
	over := overLifetime
	// Round(0) takes the monotonic clock off: an expiry is a date, which other
	// servers read.
	info.Expires = info.Received.Round(0).Add(lifetime)
	if end := info.FullHandshake.Round(0).Add(maxChain); end.Before(info.Expires) {
		info.Expires, over = end, overChainAge
	}
	if end := info.LeafNotAfter; !end.IsZero() && end.Before(info.Expires) {
		info.Expires, over = end, overClientLeaf
	}
	s.pack(&info, over)
}

// sent tells of a session whose ticket is about to be sent. The caller holds a
// reference. The end of one that can never be resumed is told behind that, and
// so is an end by NewSession itself.
func (c *serverCore) sent(l *serverLink, s *session) {
	l.send(s)
	defer func() { // also when a callback panics
		if !s.verdict.Load().open() {
			c.books.depart(s)
		}
	}()
	c.books.announce(s, nil)
}

// unwrap is UnwrapSession: it takes the session of a ticket out, or returns nil
// for a full handshake. It comes before crypto/tls checks the binder: who
// presents a ticket that he saw on the wire uses it up, and that is all he can
// do with it.
func (v *serverView) unwrap(l *serverLink, identity []byte, cs *tls.ConnectionState) *tls.SessionState {
	c := v.core
	if len(identity) == 0 || c.closed.Load() { // TLS 1.2 asks without a ticket, too
		return nil
	}
	now := time.Now()
	s, state, missing := v.find(l, identity, cs, now)
	if s == nil {
		c.missed(l, cs, missing)
		return nil
	}
	defer s.release()
	state.EarlyData = state.EarlyData && c.earlyData // whoever made it
	v.resume(l, cs, s, now)
	return state
}

// find looks a ticket up, at most one for each connection that is known. It
// returns the session with a reference, or the reason why there is none.
//
// What can be told without a look-up is told first, and does not count as one:
// a ticket of another length, and a handle that was not made here. Memory comes
// before the store, since a session that the store did not take is there.
func (v *serverView) find(l *serverLink, identity []byte, cs *tls.ConnectionState, now time.Time) (*session, *tls.SessionState, string) {
	c := v.core
	if c.keyring != nil {
		if !l.look() {
			return nil, nil, missOneOnly
		}
		return c.openSealed(v.context(cs), identity, cs, now)
	}
	if len(identity) != len(handle{}) {
		return nil, nil, missStranger
	}
	if key, ok := v.keyOf(cs, identity); ok {
		if !l.look() {
			return nil, nil, missOneOnly
		}
		return c.take(key, now)
	}
	if c.store == nil {
		return nil, nil, missStranger
	}
	place, current, ok := c.store.placeOf(v.context(cs), identity)
	switch {
	case !ok:
		return nil, nil, missStranger
	case !l.look():
		return nil, nil, missOneOnly
	}
	// One under an older key is used up, and its successor is sent under the
	// first: in the end nothing is left of a key that is to be dropped.
	stays := current && cs.Version < tls.VersionTLS13
	return c.store.take(l, place, stays, identity, cs, now)
}

// Why a ticket that was presented names no session.
const (
	missStranger = "stranger" // not made here, or for another context
	missOneOnly  = "one-only" // another of the same ClientHello was looked up
	missGone     = "gone"     // used, expired, evicted or removed before
	missDeclined = "declined" // crypto/tls did not want the session
)

// take takes a session out of memory. Of all who present its ticket one has it:
// the pool gives it out once, and its verdict changes once. A TLS 1.2 session
// stays, and each has a copy (rule T8).
//
// The state is read before the verdict ends it, under the shard's lock: the end
// lets go of it.
func (c *serverCore) take(key handleKey, now time.Time) (s *session, state *tls.SessionState, missing string) {
	missing = missGone
	item, ok := c.pool.Take(key, now, func(s *session) cache.Verdict {
		// Other limits are the pool's to watch: it drops what has expired
		// before it asks. A clock that was set back is not one of them.
		if why := s.lapsed(now); why == clockBack {
			missing = why.reason()
			return cache.Skip
		}
		held := s.state.Load()
		if held == nil {
			return cache.Drop // it has just been removed
		}
		_, state, _ = held.ResumptionState()
		if s.reusable() {
			s.refs.Add(1) // ours, beside the pool's
			return cache.Share
		}
		if !s.end(used) { // Remove was faster
			return cache.Drop
		}
		return cache.Take
	})
	if !ok {
		return nil, nil, missing
	}
	s = item.Value // with the pool's reference, or one more
	if s.reusable() {
		c.count(&c.books.ledger.shared)
		own := *state // shallow: crypto/tls only reads what it points to
		return s, &own, ""
	}
	c.books.depart(s)
	return s, state, ""
}

// missed counts and tells that a ticket was presented for nothing. Strangers'
// are counted apart: they are no sessions that this cache ever had.
func (c *serverCore) missed(l *serverLink, cs *tls.ConnectionState, reason string) {
	l.miss(reason)
	if reason == missStranger {
		c.count(&c.books.ledger.refused)
	} else {
		c.count(&c.books.ledger.missed)
	}
	c.books.event(Event{Kind: SessionMissing, Scope: c.domain.name, Server: cs.ServerName, Reason: reason})
}
