package resume

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// A stateless ticket, in the language of RFC 8446, Section 3:
//
//	struct {
//	    uint64 expires;          /* milliseconds since 1970 */
//	    opaque sealed[...];      /* a ticket.Record, sealed for that expiry */
//	} SealedTicket;
//
// It opens in the context it was sealed in and in no other: that stands where a
// store's entry has its place, and the ID is empty. The expiry is in the clear,
// as it must be known to open the rest, and is sealed with it. The record holds
// no ticket of its own but one zero byte: this is the ticket.
//
// Nothing is kept here, so nothing can tell a second presentation from the
// first (rule N4 is the client's to keep), which is why there is no 0-RTT with
// it, and why such a session never ends but by time.

const sealedExpires = 8 // bytes

var sealedTicket = []byte{0}

// sendSealed makes a stateless ticket. The session is told of and counted under
// the name that the ticket gives it, so it is captured when that is known. If
// there is no ticket to be made of it, its handle says why, and the client gets
// one that resumes nothing.
func (c *serverCore) sendSealed(l *serverLink, context []byte, cs *tls.ConnectionState, state *tls.SessionState, d descent, now time.Time) []byte {
	s := c.newServed(sealedTicket, state, cs, d, l, now)
	defer s.release()
	t, why := c.seal(context, state, s, now)
	if why == none {
		s.served().free = true
		s.rename(t, state)
		c.books.ledger.capture(s)
	} else {
		t = deadHandle()
		s.rename(t, state)
		c.books.ledger.capture(s)
		s.end(why)
	}
	c.sent(l, s)
	return t
}

// rename gives a session the ticket that was made of it. It is not known to
// anybody yet.
func (s *session) rename(t []byte, state *tls.SessionState) {
	info := s.info()
	var named ticket.Info
	inspect(&named, t, state, info.Version)
	info.Size = named.Size
	s.pack(&info, s.over)
	s.name(t)
}

// seal makes the ticket of a session, or says why there is none.
func (c *serverCore) seal(context []byte, state *tls.SessionState, s *session, now time.Time) ([]byte, verdict) {
	if why := s.unresumable(now); why != none {
		return nil, why
	}
	plain, err := recordOf(sealedTicket, state, s).MarshalBinary()
	if err != nil {
		return nil, handshakeError
	}
	defer clear(plain)
	expires := timeOf(s.expires).Truncate(time.Millisecond) // as the ticket has it
	sealed, err := c.keyring.Seal(string(context), "", expires, plain)
	if err != nil {
		return nil, handshakeError
	}
	t := append(binary.BigEndian.AppendUint64(nil, uint64(expires.UnixMilli())), sealed...)
	if len(t) > maxTicketSize { // a long client chain: the hello would break
		return nil, tooLarge
	}
	return t, none
}

// openSealed is the opposite of sendSealed. What does not open is a stranger's,
// whoever it belongs to: another keyring's, another context's, or changed on
// the way. Its look-up has been counted by the caller (serverView.find), since
// to open costs a key derivation for each key of the ring.
func (c *serverCore) openSealed(context, identity []byte, cs *tls.ConnectionState, now time.Time) (*session, *tls.SessionState, string) {
	if len(identity) <= sealedExpires {
		return nil, nil, missStranger
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(identity)))
	plain, err := c.keyring.Open(string(context), "", expires, identity[sealedExpires:])
	if err != nil {
		return nil, nil, missStranger
	}
	defer clear(plain)
	record := new(ticket.Record)
	if record.UnmarshalBinary(plain) != nil { // another Go release wrote it
		c.count(&c.books.ledger.unreadable)
		return nil, nil, "unreadable"
	}
	s := c.revived(record, cs)
	s.served().free = true
	s.rename(identity, record.State)
	if why := s.lapsed(now); why != none { // in no books: it has no end to tell of
		s.release()
		return nil, nil, why.reason()
	}
	return s, record.State, ""
}

// revived makes a session of a record, with one reference, and takes what this
// layer added to the state off again.
func (c *serverCore) revived(r *ticket.Record, cs *tls.ConnectionState) *session {
	s := c.bare(cs.ServerName, cs.Version, live)
	s.name(r.Ticket)
	var info ticket.Info
	inspect(&info, r.Ticket, r.State, cs.Version)
	info.ServerName, info.ALPN, info.Endpoint = r.ServerName, r.ALPN, r.Endpoint
	info.Received, info.FullHandshake = r.Received, r.FullHandshake
	info.Resumptions, r.State.Extra = takeResumptions(r.State.Extra)
	// Our lifetime may be shorter than that of the server that made it, and
	// theirs than ours: the tighter one counts.
	s.setExpiry(info, c.lifetime)
	s.shorten(r.Expires)
	return s
}

// How often a chain has resumed travels in SessionState.Extra, which other
// layers leave alone (rule T12).
var resumptionsPrefix = []byte("tlsresume\x00\x01resumptions")

// resumptionsExtra is an entry of Extra with the count, in big endian.
func resumptionsExtra(n int) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(resumptionsPrefix), uint64(n))
}

// takeResumptions reads it and takes it off, so that crypto/tls and other
// layers get what they put.
func takeResumptions(extra [][]byte) (n int, rest [][]byte) {
	for _, e := range extra {
		if number, ok := bytes.CutPrefix(e, resumptionsPrefix); ok && len(number) == 8 {
			n = int(binary.BigEndian.Uint64(number))
			continue
		}
		rest = append(rest, e)
	}
	return n, rest
}
