package ticket

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"
)

// Info is what is known of a session besides its secrets. It is a plain value
// and holds nothing that could resume or decrypt anything; logging it is safe.
//
// Inspect fills what the session says of itself. Package resume fills the rest
// (ServerName, Endpoint, ALPN, FullHandshake) from what it saw on the
// connection, and replaces Received and Expires by its own clock.
type Info struct {
	// ID names the session in logs: the first 8 bytes of the SHA-256 of its
	// ticket, in hex. It cannot be turned back into the ticket, but whoever
	// saw the ticket on the wire can compute it.
	ID string

	// ServerName is the name the session was established under and may be
	// resumed under (RFC 8446, Section 4.6.1). Empty when unknown.
	ServerName string

	// Endpoint is the address of the server that sent the session, with its
	// port; on the server, of the client it was sent to. Empty when unknown.
	Endpoint string

	Version     uint16 // tls.VersionTLS13, ...
	CipherSuite uint16 // its hash binds the session (RFC 8446, Section 4.2.11)

	// ALPN is the protocol of the connection that brought the session. It
	// binds only 0-RTT (RFC 7301, Section 3.1); empty when unknown.
	ALPN string

	// Received is when the ticket came, in whole seconds when the session is
	// the source.
	Received time.Time

	// Expires is the end of the lifetime the server granted, or earlier where
	// a rule of the cache ends the session before. Zero: not known, as always
	// for a TLS 1.2 session, which carries no lifetime (rule T14).
	Expires time.Time

	// FullHandshake is when the chain of resumptions that led to this session
	// began (rule N11). Zero: not known.
	FullHandshake time.Time

	// Resumptions is how many resumptions since then led to it. Only a server's
	// sessions count them.
	Resumptions int

	// LeafNotAfter is the end of the peer's certificate. crypto/tls does not
	// resume beyond it. Zero: not known, or there is none.
	LeafNotAfter time.Time

	// ClientLeaf is the SHA-256 of the client's certificate in hex, in a
	// server's session. Empty when the client showed none.
	ClientLeaf string

	EarlyData            bool // the ticket allows 0-RTT (QUIC only, rule T16)
	ExtendedMasterSecret bool // RFC 7627, of interest below TLS 1.3
	Client               bool // a client's session, not a server's
	Certificates         int  // certificates in the peer's chain as it was sent

	// Size is the length of the ticket and the encoded session with its
	// certificates, in bytes. In memory certificates are often shared, so
	// this is what the session costs when nothing is.
	Size int
}

// String is one line without secrets, for logs.
func (i Info) String() string {
	s := fmt.Sprintf("%s %s", i.ID, versionName(i.Version))
	if i.CipherSuite != 0 {
		s += " " + tls.CipherSuiteName(i.CipherSuite)
	}
	if i.ServerName != "" {
		s += " " + i.ServerName
	}
	if !i.Expires.IsZero() {
		s += " until " + i.Expires.UTC().Format(time.RFC3339)
	}
	return s
}

// GoString is String in the form of %#v.
func (i Info) GoString() string { return "ticket.Info(" + i.String() + ")" }

// LogValue is the same for log/slog, as a group.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", i.ID),
		slog.String("server", i.ServerName),
		slog.String("version", versionName(i.Version)),
		slog.Time("expires", i.Expires),
	)
}

// versionName is tls.VersionName with a word for zero, which Info uses for
// what it does not know.
func versionName(v uint16) string {
	if v == 0 {
		return "TLS ?"
	}
	return tls.VersionName(v)
}

// ID is how a session is named, which Info.ID says in hex: short, stable, and
// useless to who has not seen the ticket.
func ID(ticket []byte) [8]byte {
	sum := sha256.Sum256(ticket)
	return [8]byte(sum[:8])
}

func id(ticket []byte) string {
	b := ID(ticket)
	return hex.EncodeToString(b[:])
}
