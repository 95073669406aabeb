package resume

import (
	"bytes"
	"crypto/tls"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// A kin is what a session inherits that comes on a resumed connection.
// crypto/tls takes the certificates over from the one before, and in TLS 1.3
// nothing else changes its length but the ticket, so none of that need be read
// again (docs/decisions/0003). The zero kin is of a full handshake.
//
// Of the parent only what never changes is read, so no reference to it is held:
// it may have ended, and its secret be gone.
type kin struct {
	parent *session
	size   uint32 // in bytes, of the parent without its ticket
}

// kin is what the sessions of this handshake inherit. It leaves out what layers
// have added, which crypto/tls does not hand on (rule T12). Our own mark is not
// in the size (see inspect).
func (l *lease) kin() kin {
	ticketBytes, state, _ := l.state.ResumptionState()
	size := int(l.s.size) - len(ticketBytes)
	for _, extra := range state.Extra {
		if !bytes.Equal(extra, handedOut) {
			size -= entryLength(extra)
		}
	}
	return kin{l.s, uint32(size)}
}

// inherit is read for a session of TLS 1.3 that came on a resumed connection.
// It reports false for whatever is out of the ordinary: a session for early
// data has the protocol in its encoding as well, and of one whose encoding is
// unknown nobody has counted the certificates.
//
// The size is right to the byte: version, type, suite and times have a fixed
// length, and the secret is as long as the suite's hash, which a resumption
// keeps (rules T9 and N9). A test compares it with Inspect's.
func (s *session) inherit(o *origin, ticketBytes []byte, state *tls.SessionState, now time.Time) bool {
	f, parent := &o.facts, o.facts.kin.parent
	if parent == nil || f.version != tls.VersionTLS13 || parent.flags&earlyData != 0 || parent.certificateCount() == 0 {
		return false
	}
	received, expires, ok := ticket.Times(state)
	if !ok {
		return false
	}
	s.version, s.cipherSuite, s.endpoint = f.version, f.cipherSuite, o.endpoint
	s.leafNotAfter, s.certificates = parent.leafNotAfter, parent.certificates
	s.flags = parent.flags & (extendedMasterSecret | isClient)
	s.size = f.kin.size + uint32(len(ticketBytes))
	if parent.words != nil || f.alpn != "" || o.serverName != nameOf(s.key.name) {
		s.words = &words{serverName: o.serverName, alpn: f.alpn, certificates: parent.certificateCount()}
	}
	s.setEnd(o, received.Unix(), expires.Unix(), now)
	return true
}
