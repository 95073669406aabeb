package resume

import (
	"bytes"
	"crypto/tls"
	"math"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// An origin is what a way in knows of the connection that brought a ticket. It
// is read while the ticket is captured and kept by nobody.
type origin struct {
	key            serverKey
	birth          uint64 // core.epoch at its handshake; plugged in: now
	facts          facts  // zero, or a part of them, unless bound
	serverName     string
	endpoint       string // empty: not known
	clientNotAfter time.Time
	conn           *Conn // nil unless bound
}

// capture makes a session of what crypto/tls received, puts it into the pool
// and calls NewSession. What can never be resumed is captured all the same,
// ended from the start, so that somebody hears why (docs/decisions/0004).
//
// It runs inside crypto/tls's Read, or a TLS 1.2 handshake, under locks of
// crypto/tls: it must not wait for a store, or ask the connection anything.
//
// The reference that newSession gives is ours until the end, so that the
// session does not read Freed while it is told of, even if another handshake
// has used it by then. It is public from keep on: all that never changes is set
// before.
func (c *core) capture(cs *tls.ClientSessionState, o *origin, now time.Time) {
	if c.closed.Load() {
		c.refuse(o, closed.reason())
		return
	}
	ticketBytes, state, err := cs.ResumptionState()
	switch {
	case err != nil || state == nil || len(ticketBytes) == 0:
		c.refuse(o, "unusable")
		return
	case marked(state):
		c.refuse(o, "put-back")
		return
	}
	s := c.newSession(o.key, live)
	defer s.release()
	if !s.inherit(o, ticketBytes, state, now) && !s.read(o, ticketBytes, state, now) {
		c.refuse(o, "unusable")
		return
	}
	// After the state was read, which is not to count the mark, and before
	// anybody can get it: a state that is handed out is never written to.
	mark(state)
	s.name(ticketBytes)
	s.birth, s.serial = o.birth, c.serial.Add(1)
	s.state.Store(cs)
	c.keep(s, len(ticketBytes), o.conn)
}

// read notes what the session says of itself, unless crypto/tls could not use
// it. A zero version, of an encoding that nobody here knows, makes it single
// use: that is right for TLS 1.3 and only costs handshakes for TLS 1.2.
func (s *session) read(o *origin, ticketBytes []byte, state *tls.SessionState, now time.Time) bool {
	var info ticket.Info
	if inspect(&info, ticketBytes, state, o.facts.version) {
		if !info.Client || info.Certificates == 0 {
			return false
		}
	} else if !parses(state) {
		return false
	}
	s.allowReuse(info.Version)
	s.setInfo(&info, o, now)
	return true
}

// keep counts a session, puts it into the pool and tells of it. The caller
// holds a reference.
//
// The user is called last, when all that is to be true of the session is. If he
// panics, it is in the pool and received, and goes to the store all the same.
func (c *core) keep(s *session, ticketSize int, conn *Conn) {
	// Before receive, by which others can end it: that would take it out of
	// a bucket of the books that it is not in yet.
	c.ledger.capture(s)
	if conn != nil {
		// Before anybody else can take the session: the connection's end must
		// find it, which a Write may bring about at this moment, elsewhere.
		conn.receive(s)
	}
	if v := s.stillborn(ticketSize); v != none {
		s.end(v)
	} else {
		c.pooled(s, 0)
	}
	defer func() { // also when a callback panics
		// Stillborn, that is. Whoever has ended it otherwise departs, too,
		// and the second time says nothing.
		if !s.verdict.Load().open() {
			c.depart(s)
		}
		c.vault.stow(s)
	}()
	c.announce(s, conn)
}

// refuse counts and tells what is no session of ours to keep. That is not an
// error to crypto/tls, whose Put returns none.
func (c *core) refuse(o *origin, reason string) {
	c.ledger.count(&c.ledger.refused)
	c.event(Event{Kind: TicketRefused, Scope: o.key.domain().name, Server: o.key.name, Conn: o.conn, Reason: reason})
}

// pooled puts a session into the pool, which takes a reference, at the place
// that it had or, if that is zero, as the newest. A Clear or Remove that ran
// meanwhile may have passed it by, so it is looked at again: whoever ends a
// session does so first and then looks for it in the pool, and we put it there
// first and then look whether it has ended, so that one of the two takes it
// out. To take it out twice does no harm.
//
// The caller has a reference of his own, so the count is not zero. The pool's
// is counted before Put, which may drop it again at once, for want of room.
func (c *core) pooled(s *session, place uint32) {
	s.refs.Add(1)
	s.key.domain().spaces.add(s.key.space)
	c.pool.Put(s.key, cache.Item[*session]{
		Value: s, Group: s.endpoint, Size: int64(s.size), Expires: timeOf(s.expires), Place: place,
	})
	switch {
	case s.isCleared():
		s.end(cleared)
	case c.closed.Load():
		s.end(closed)
	}
	if !s.verdict.Load().open() {
		c.unpool(s)
	}
}

// inspect reads what the session says of itself, but for its ID, and does not
// count our mark. If its encoding is unknown, what remains is what the
// connection said, and the size, which the bounds of the pool need in any case.
func inspect(info *ticket.Info, ticketBytes []byte, state *tls.SessionState, version uint16) (readable bool) {
	var err error
	*info, err = ticket.InspectState(state)
	info.Size += len(ticketBytes)
	if marked(state) { // it was stored
		info.Size -= entryLength(handedOut)
	}
	if err != nil {
		*info = ticket.Info{EarlyData: info.EarlyData, Size: info.Size, Version: version}
	}
	return err == nil
}

// parses, which costs an encoding and a parse, is for what Inspect does not
// know. It asks crypto/tls itself whether it could read the session back: what
// it would refuse, such as an empty state, would make the handshake panic (rule
// T8).
func parses(state *tls.SessionState) bool {
	bare := *state
	bare.Extra = nil // of no concern here, and it may be too long to encode
	encoded, err := bare.Bytes()
	if err != nil {
		return false
	}
	_, err = tls.ParseSessionState(encoded)
	return err == nil
}

// setInfo adds what the connection and the clock know. The protocol is the
// connection's to know: a session has it for early data only (rule N23).
func (s *session) setInfo(info *ticket.Info, o *origin, now time.Time) {
	info.ServerName, info.Endpoint = o.serverName, o.endpoint
	if o.facts.alpn != "" {
		info.ALPN = o.facts.alpn
	}
	s.describe(info)
	s.setEnd(o, info.Received.Unix(), info.Expires.Unix(), now)
}

// setEnd works out when a session that is received now, and already described,
// expires, and which limit that is. Received and expires are what it says
// itself, in Unix seconds or noSecond.
//
// Times in the session are by the clock of its configuration, which need not
// be ours, so each is taken as a distance from the receipt. crypto/tls counts
// whole seconds, and so does the lifetime here, or it would refuse in the last
// one what was taken for it.
func (s *session) setEnd(o *origin, received, expires int64, now time.Time) {
	s.received, s.monotonic = now.UnixNano(), monotonic(now)
	// What the others can only shorten, and, with the chain, all there is if
	// the session cannot be read.
	core := s.core()
	life, maxChainAge := core.maxAge, s.maxChainAge()
	if s.reusable() {
		life = min(life, maxSessionAge)
	}
	s.expires, s.over = s.received+int64(life), overMaxAge
	// Known where the handshake was seen, or from a record; else by key.
	if s.fullHandshake = o.facts.fullHandshake; s.fullHandshake == 0 {
		s.fullHandshake = core.joinChain(o.key, maxChainAge, s.received)
	}
	s.limit(s.fullHandshake+int64(maxChainAge), overChainAge)
	if received == noSecond {
		return
	}
	// As late in its second as in ours.
	second := s.received - int64(now.Nanosecond())
	s.limitToSecond(second, received, expires, overLifetime)
	s.limitToSecond(second, received, s.leafNotAfter, overLeaf)
	s.limitToSecond(second, received, o.clientNotAfter.Unix(), overClientLeaf)
}

// limitToSecond is limit for a Unix second, unless that is noSecond, by the
// clock by which the session was received when ours said second, in Unix
// nanoseconds. A second that is too late for a time.Time is one long past there,
// and so it is to crypto/tls, which would not use the session.
func (s *session) limitToSecond(second, received, end int64, v verdict) {
	if end == noSecond {
		return
	}
	const latest = math.MaxInt64 + noSecond
	var life uint64
	if received < end && end <= latest {
		const enough = uint64(maxTicketAge/time.Second) + 1 // a certificate may have centuries
		life = min(uint64(end)-uint64(received), enough)
	}
	s.limit(second+int64(life)*int64(time.Second), v)
}

// limit ends the session at an instant, in Unix nanoseconds, unless it ends
// earlier, and notes why.
func (s *session) limit(end int64, v verdict) {
	if end < s.expires {
		s.expires, s.over = end, v
	}
}

// stillborn is why a session that has just come can never be resumed, or none.
// Its time is over on arrival when its chain or a certificate is at its end.
func (s *session) stillborn(ticketSize int) verdict {
	switch {
	case ticketSize > maxTicketSize:
		return tooLarge
	case s.reusable() && s.flags&extendedMasterSecret == 0:
		return noMasterSecret // RFC 7627, Section 5.3; rule N21
	case s.isCleared():
		return cleared
	case s.expires <= s.received:
		return s.over
	}
	return none
}

// The mark is an entry in SessionState.Extra, which other layers leave alone
// (rule T12). It travels with every copy of the state, so that a state that
// was handed out, or put twice, is known when it is put again.
var handedOut = []byte("tlsresume\x00\x01kept")

// onlyMark is the Extra of all states that have nothing else there. Layers must
// only append to it, says crypto/tls, and to append makes a copy.
var onlyMark = [][]byte{handedOut}

// entryLength is what an entry takes in an encoded session.
func entryLength(extra []byte) int { return 3 + len(extra) }

// mark writes to a state that was just put, before others can have it from us.
// Entries of other layers stay (rule T12).
func mark(state *tls.SessionState) {
	if len(state.Extra) == 0 {
		state.Extra = onlyMark
		return
	}
	// Clipped: the array behind may be shared with who made the state.
	state.Extra = append(state.Extra[:len(state.Extra):len(state.Extra)], handedOut)
}

// marked goes by the bytes, as the mark may have been through an encoding: in a
// store, or in a state that a caller has kept.
func marked(state *tls.SessionState) bool {
	for _, extra := range state.Extra {
		if bytes.Equal(extra, handedOut) {
			return true
		}
	}
	return false
}
