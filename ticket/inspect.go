package ticket

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// The encoding of a tls.SessionState as crypto/tls documents it above the type
// (crypto/tls/ticket.go), in the language of RFC 8446, Section 3:
//
//	struct {
//	    uint16 version;
//	    SessionStateType type;              /* server(1), client(2) */
//	    uint16 cipher_suite;
//	    uint64 created_at;                  /* seconds since 1970 */
//	    opaque secret<1..2^8-1>;
//	    Extra extra<0..2^24-1>;
//	    uint8 ext_master_secret = { 0, 1 };
//	    uint8 early_data = { 0, 1 };
//	    CertificateEntry certificate_list<0..2^24-1>;
//	    CertificateChain verified_chains<0..2^24-1>;
//	    select (SessionState.early_data) {
//	        case 0: Empty;
//	        case 1: opaque alpn<1..2^8-1>;
//	    };
//	    select (SessionState.version) {
//	        case VersionTLS10..VersionTLS12: uint16 curve_id;
//	        case VersionTLS13: select (SessionState.type) {
//	            case server: Empty;
//	            case client: struct { uint64 use_by; uint32 age_add; };
//	        };
//	    };
//	} SessionState;
//
// Fields may be added at the end only, so whatever follows is left unread.

const (
	stateServer = 1
	stateClient = 2
)

// errEncoding is wrapped by every error of Inspect that comes from the bytes.
var errEncoding = errors.New("ticket: unknown session encoding")

// Inspect reads what a session says of itself: from the fields of the state
// where that is known to give what its encoding says, else from the encoding,
// a copy that is wiped. Neither argument is kept or changed.
//
// It fails soft: with the error comes an Info that holds what was read before
// the encoding stopped making sense, and ID, EarlyData and Size always, unless
// state is nil. An error therefore means "do not rely on the rest", not
// "worthless": whatever tls.ParseSessionState accepts, Inspect reads, but a
// later Go release may encode sessions in a way that only its own parser knows.
//
// It is safe for concurrent use as long as nobody writes to the state.
func Inspect(ticket []byte, state *tls.SessionState) (Info, error) {
	info, err := InspectState(state)
	if state != nil {
		info.ID = id(ticket)
		info.Size += len(ticket)
	}
	return info, err
}

// InspectState is Inspect without the ticket: there is no ID, and Size is of
// the encoded session alone.
func InspectState(state *tls.SessionState) (info Info, err error) {
	if state == nil {
		return info, errors.New("ticket: nil session state")
	}
	info.EarlyData = state.EarlyData
	for _, extra := range state.Extra { // of other layers: counted, not read
		info.Size += 3 + len(extra) // with its length
	}
	if inspectFields(&info, state) {
		return info, nil
	}
	return inspectEncoded(info, state)
}

// inspectEncoded adds to the Info what the encoding says, and its length.
func inspectEncoded(info Info, state *tls.SessionState) (Info, error) {
	// Without the entries of other layers there is less to copy, and one too
	// long to be encoded cannot hide the rest.
	bare := *state
	bare.Extra = nil
	encoded, err := bare.Bytes()
	if err != nil {
		return info, fmt.Errorf("ticket: encoding session: %w", err)
	}
	defer clear(encoded) // it holds the secret
	info.Size += len(encoded)
	_, err = info.read(encoded)
	return info, err
}

// read fills the Info from an encoded session, front to back, and returns what
// follows the last known field. On an error the fields read so far are set.
func (i *Info) read(encoded []byte) (rest []byte, err error) {
	r := reader{b: encoded}
	i.Version = uint16(r.uint(2))
	typ := r.uint(1)
	i.CipherSuite = uint16(r.uint(2))
	created := r.uint(8)
	secret := r.vector(1)
	r.vector(3) // extra
	ems, early := r.uint(1), r.uint(1)
	if r.bad || len(secret) == 0 || typ < stateServer || typ > stateClient || ems > 1 || early > 1 {
		return nil, errEncoding
	}
	i.Client = typ == stateClient
	i.Received = time.Unix(int64(created), 0)
	i.ExtendedMasterSecret = ems == 1
	certificates := r.vector(3)
	r.vector(3) // verified chains
	if early == 1 {
		i.ALPN = string(r.vector(1))
	}
	switch {
	case i.Version < tls.VersionTLS13:
		r.uint(2) // curve
	case i.Client:
		i.Expires = time.Unix(int64(r.uint(8)), 0)
		r.uint(4) // age_add
	}
	if r.bad {
		i.Expires = time.Time{}
		return nil, errEncoding
	}
	return r.b, i.readCertificates(certificates)
}

// readCertificates counts the certificates and takes the end of the first.
func (i *Info) readCertificates(list []byte) error {
	for r := (reader{b: list}); len(r.b) > 0; {
		der := r.vector(3)
		r.vector(2) // extensions: staple and timestamps
		if r.bad {
			return errEncoding
		}
		if i.Certificates++; i.Certificates > 1 {
			continue
		}
		var err error
		if i.LeafNotAfter, err = notAfter(der); err != nil {
			return err
		}
		i.nameClient(der)
	}
	return nil
}

// nameClient fills in ClientLeaf: the peer of a server is a client.
func (i *Info) nameClient(leaf []byte) {
	if !i.Client {
		sum := sha256.Sum256(leaf)
		i.ClientLeaf = hex.EncodeToString(sum[:])
	}
}

// notAfter is the end of a certificate's validity (RFC 5280, Section 4.1.2.5).
// It walks over the few fields before it, as crypto/tls has parsed the
// certificate already and x509 would parse all of it again; x509 is asked only
// about what is not in the form that RFC 5280 demands.
func notAfter(der []byte) (time.Time, error) {
	certificate := reader{b: der}
	_, tbs := certificate.enter()
	_, fields := tbs.enter()
	if tag, _ := fields.enter(); tag == 0xa0 { // version, unless it is 1
		fields.enter() // serial number
	}
	fields.enter() // signature algorithm
	fields.enter() // issuer
	_, validity := fields.enter()
	validity.enter() // not before
	if tag, end := validity.enter(); !validity.bad {
		if t, ok := parseTime(tag, end.b); ok {
			return t, nil
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: leaf certificate: %w", errEncoding, err)
	}
	return parsed.NotAfter, nil
}

// parseTime reads YYMMDDHHMMSSZ (UTCTime) and YYYYMMDDHHMMSSZ
// (GeneralizedTime), the only forms that RFC 5280 allows.
func parseTime(tag byte, text []byte) (time.Time, bool) {
	const utcTime, generalizedTime = 23, 24
	century := 0
	switch {
	case tag == utcTime && len(text) == 13:
		century = 19
		if text[0] < '5' { // two digits reach from 1950 to 2049
			century = 20
		}
	case tag == generalizedTime && len(text) == 15:
		century = twoDigits(text)
		text = text[2:]
	default:
		return time.Time{}, false
	}
	var part [6]int
	for i := range part {
		if part[i] = twoDigits(text[2*i:]); part[i] < 0 {
			return time.Time{}, false
		}
	}
	if century < 0 || text[12] != 'Z' {
		return time.Time{}, false
	}
	t := time.Date(100*century+part[0], time.Month(part[1]), part[2], part[3], part[4], part[5], 0, time.UTC)
	// time.Date moves the 31st of February to March; such a date is x509's.
	return t, t.Month() == time.Month(part[1]) && t.Day() == part[2] &&
		t.Hour() == part[3] && t.Minute() == part[4] && t.Second() == part[5]
}

// twoDigits is the number that text begins with, or -1.
func twoDigits(text []byte) int {
	high, low := text[0]-'0', text[1]-'0'
	if high > 9 || low > 9 {
		return -1
	}
	return int(high)*10 + int(low)
}

// A reader takes fields off the front of b. After the first that is not there
// it is bad, and everything further reads as zero.
type reader struct {
	b   []byte
	bad bool
}

// next takes n bytes.
func (r *reader) next(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	field := r.b[:n]
	r.b = r.b[n:]
	return field
}

// uint takes a big-endian number of size bytes, at most 8.
func (r *reader) uint(size int) uint64 {
	var wide [8]byte
	copy(wide[8-size:], r.next(uint64(size)))
	return binary.BigEndian.Uint64(wide[:])
}

// vector takes an opaque<..2^(8*size)-1>. It aliases the input.
func (r *reader) vector(size int) []byte { return r.next(r.uint(size)) }

// enter takes a DER element (X.690) and returns its tag and a reader of its
// content.
func (r *reader) enter() (tag byte, content reader) {
	tag = byte(r.uint(1))
	length := r.uint(1)
	if long := length &^ 0x80; length > long {
		if long > 4 {
			r.bad = true
			return tag, reader{bad: true}
		}
		length = r.uint(int(long))
	}
	return tag, reader{b: r.next(length), bad: r.bad}
}
