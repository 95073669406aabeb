package resume

import (
	"crypto/tls"
	"encoding/hex"
	"math"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// words are what most sessions can do without. Without them the server's name
// is that of the key, and the others are empty. They are 72 bytes behind one
// pointer, so that a session without them has 8 (docs/decisions/0016).
type words struct {
	serverName, alpn, clientLeaf string
	resumptions, certificates    int
	served                       *served // nil: a client's session
}

// Bits of session.flags, which are set before others know the session.
const (
	isNamed = 1 << iota // there is a ticket behind it
	isReusable
	earlyData
	extendedMasterSecret
	isClient
)

// name notes what the ticket is known by.
func (s *session) name(ticketBytes []byte) {
	s.id = ticket.ID(ticketBytes)
	s.flags |= isNamed
}

// pack notes an Info but for its ID, and which limit its Expires comes from. Of
// Received it notes both clocks.
func (s *session) pack(i *ticket.Info, over verdict) {
	s.describe(i)
	s.received, s.monotonic = unixNano(i.Received), monotonic(i.Received)
	s.expires, s.over = unixNano(i.Expires), over
	s.fullHandshake = unixNano(i.FullHandshake)
}

// describe is pack without our own times. A size that does not fit is the
// largest that does. More certificates than a byte counts are out of the
// ordinary, and go to words.
//
// A server's session has words before, for served, which stays in them.
func (s *session) describe(i *ticket.Info) {
	s.leafNotAfter = i.LeafNotAfter.Unix()
	s.endpoint = i.Endpoint
	s.size = uint32(min(int64(i.Size), math.MaxUint32))
	s.version, s.cipherSuite, s.certificates = i.Version, i.CipherSuite, uint8(i.Certificates)
	// The other two, isNamed and isReusable, are not of the Info.
	s.flags &^= earlyData | extendedMasterSecret | isClient
	if i.EarlyData {
		s.flags |= earlyData
	}
	if i.ExtendedMasterSecret {
		s.flags |= extendedMasterSecret
	}
	if i.Client {
		s.flags |= isClient
	}
	usual := i.ServerName == nameOf(s.key.name) && i.ALPN == "" && i.ClientLeaf == "" &&
		i.Resumptions == 0 && i.Certificates == int(s.certificates)
	if s.words == nil && !usual {
		s.words = new(words)
	}
	if s.words != nil {
		*s.words = words{i.ServerName, i.ALPN, i.ClientLeaf, i.Resumptions, i.Certificates, s.served()}
	}
}

// shorten ends the session at a time by which others have limited it, if any.
// Which limit theirs was, a record does not say: the reason is lifetime.
func (s *session) shorten(to time.Time) {
	if end := unixNano(to); end != noTime && end < s.expires {
		s.expires, s.over = end, overLifetime
	}
}

// info is what was packed. Received is by the wall clock alone: a time.Time
// with the monotonic reading cannot be made of numbers.
func (s *session) info() ticket.Info {
	i := ticket.Info{
		Received: timeOf(s.received), Expires: timeOf(s.expires), FullHandshake: timeOf(s.fullHandshake),
		LeafNotAfter: timeOfSecond(s.leafNotAfter),
		Endpoint:     s.endpoint, Size: int(s.size), Version: s.version, CipherSuite: s.cipherSuite,
		ServerName: s.serverName(), Certificates: s.certificateCount(),
		EarlyData:            s.flags&earlyData != 0,
		ExtendedMasterSecret: s.flags&extendedMasterSecret != 0,
		Client:               s.flags&isClient != 0,
	}
	if s.isNamed() {
		i.ID = hex.EncodeToString(s.id[:])
	}
	if w := s.words; w != nil {
		i.ALPN, i.ClientLeaf = w.alpn, w.clientLeaf
		i.Resumptions = w.resumptions
	}
	return i
}

// record is the session as it is kept outside the process. Version, suite
// and certificates are the state's to say; the age by the monotonic clock means
// nothing in another process.
func (s *session) record(ticketBytes []byte, state *tls.SessionState) *ticket.Record {
	i := s.info()
	return &ticket.Record{
		Ticket: ticketBytes, State: state,
		Scope: s.key.domain().name, Server: s.key.name,
		ServerName: i.ServerName, Endpoint: i.Endpoint, ALPN: i.ALPN,
		Received: i.Received, Expires: i.Expires, FullHandshake: i.FullHandshake,
	}
}

// certificateCount is Info.Certificates. With a client's session zero means
// that its encoding could not be read.
func (s *session) certificateCount() int {
	if s.words != nil {
		return s.words.certificates
	}
	return int(s.certificates)
}

// isNamed reports whether the session has a ticket. A Pending object has none,
// and is in no pool, no books and no store.
func (s *session) isNamed() bool { return s.flags&isNamed != 0 }

// allowReuse notes that a session is of a version, zero if that is not known,
// whose sessions are used again. It comes before setEnd, which bounds the two
// kinds differently.
func (s *session) allowReuse(version uint16) {
	if version != 0 && version < tls.VersionTLS13 {
		s.flags |= isReusable
	}
}

// reusable reports whether the session is one of TLS 1.2: shared as copies, not
// used up.
func (s *session) reusable() bool { return s.flags&isReusable != 0 }

// served is what a server's session has besides; nil: it is a client's.
func (s *session) served() *served {
	if s.words == nil {
		return nil
	}
	return s.words.served
}

// serverName is the name that crypto/tls had, without a Dialer's port.
func (s *session) serverName() string {
	if s.words != nil {
		return s.words.serverName
	}
	return nameOf(s.key.name)
}

// noSecond is time.Time{}.Unix().
const noSecond = -62135596800

// timeOfSecond is what Unix made a number of, to the second.
func timeOfSecond(unix int64) time.Time {
	if unix == noSecond {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// noTime stands for the zero time.Time, and for no monotonic clock. Zero would
// not do for that: Unix time zero is a time.
const noTime = math.MinInt64

// unixNano counts from 1678 to 2262, which is enough for what a session's life
// is about; certificates last longer, and are counted in seconds.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixNano()
}

// timeOf is the way back, by the wall clock alone.
func timeOf(unixNano int64) time.Time {
	if unixNano == noTime {
		return time.Time{}
	}
	return time.Unix(0, unixNano)
}

// processStart is what monotonic times are counted from.
var processStart = time.Now()

// monotonic is the time by the monotonic clock, in nanoseconds since something
// or other; noTime if t does not have it. Round(0) takes that reading off, and
// leaves a time without it as it is.
func monotonic(t time.Time) int64 {
	if t.Round(0) == t {
		return noTime
	}
	return int64(t.Sub(processStart))
}
