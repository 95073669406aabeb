package ticket

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// A record in the language of RFC 8446, Section 3:
//
//	uint64 Time;                 /* milliseconds since 1970 in two's complement,
//	                                rounded down; the zero time.Time is
//	                                -62135596800000 */
//
//	enum { verbatim(0), compact(1), (255) } StateForm;
//
//	struct {
//	    uint8 revision = 1;
//	    opaque ticket<1..2^16-1>;
//	    opaque scope<0..2^16-1>;
//	    opaque server<0..2^16-1>;
//	    opaque server_name<0..2^16-1>;
//	    opaque endpoint<0..2^16-1>;
//	    opaque alpn<0..2^8-1>;
//	    Time received;
//	    Time expires;
//	    Time full_handshake;
//	    StateForm form;
//	    select (Record.form) {
//	        case verbatim: opaque state<1..2^32-1>;  /* SessionState.Bytes */
//	        case compact: CompactState;              /* compact.go */
//	    };
//	} Record;
//
// Fields may be appended at the end: a reader ignores what follows the last
// field it knows, and takes a field that an older writer did not append for
// zero. Whatever else changes, a new form too, is a new revision; a reader
// refuses the revisions that it does not know. The files of testdata/record
// hold what was written once and has to stay readable.

const (
	recordRevision = 1

	formVerbatim = 0
	formCompact  = 1
)

// errRecord is wrapped by every error of a Record. It is not exported: to
// whoever keeps records, one that cannot be read is a miss, whatever the
// reason.
var errRecord = errors.New("ticket: invalid record")

// Record is a session as it is kept outside the process. It holds all that a
// client needs to resume, and so whoever reads a marshaled one can do that:
// keep it sealed by a [Keyring].
//
// The zero value is empty, to be filled by its fields or by UnmarshalBinary;
// it cannot be marshaled. A Record may be read, printed and marshaled
// concurrently while nobody writes to it or to its State.
//
// fmt and log/slog print of it what they do of its [Info], no ticket and no
// secret. Two ways lead around that: encoding/json writes the ticket, and of a
// Record (not a *Record) in an unexported field fmt prints the ticket and, for
// %s or %q, the secret.
type Record struct {
	// Ticket is what the client sends to resume, 1 to 65535 bytes.
	Ticket []byte

	// State is the rest of what crypto/tls knows of the session. Its Extra
	// entries, of whatever layer, are kept (rule T12).
	State *tls.SessionState

	// Scope names the security domain that the session must not leave.
	Scope string

	// Server is the key that the session is found under.
	Server string

	ServerName string // name the session may be resumed under; empty: unknown
	Endpoint   string // address and port of the server; empty: unknown
	ALPN       string // protocol of the connection, at most 255 bytes

	// Times are kept to the millisecond, rounded down: a session seems older,
	// and ends sooner, than it is by less than that. Zero: unknown.
	Received      time.Time
	Expires       time.Time
	FullHandshake time.Time // when the chain of resumptions began (rule N11)
}

// MarshalBinary encodes the record. It fails, with an error that begins with
// "ticket: ", without a ticket or a state, with a name longer than the layout
// takes, and for a state that crypto/tls could not read back; what it returns,
// UnmarshalBinary of the same Go release reads. The same record gives the same
// bytes within one Go release; in another, compress/flate may do better.
//
// The result holds the session's secret in the clear: wipe it once it is
// sealed. What crypto/tls leaves in memory as it encodes is out of reach.
func (r *Record) MarshalBinary() ([]byte, error) {
	if r == nil || r.State == nil || len(r.Ticket) == 0 {
		return nil, fmt.Errorf("%w: no ticket or no state", errRecord)
	}
	encoded, err := r.State.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	defer clear(encoded) // it holds the secret
	c, ok := compactState(encoded)
	size := c.size()
	if !ok {
		// Nobody but crypto/tls can say whether this will ever be read. It gets
		// a copy: what it keeps of it for other sessions must not be wiped.
		if _, err := tls.ParseSessionState(bytes.Clone(encoded)); err != nil {
			return nil, fmt.Errorf("%w: %w", errRecord, err)
		}
		size = 4 + len(encoded)
	}
	// A buffer that grew would leave secrets behind in those it grew out of.
	w := writer{b: make([]byte, 0, r.fieldsSize()+1+size)}
	r.appendFields(&w)
	if ok {
		w.uint(1, formCompact)
		w.compact(c)
	} else {
		w.uint(1, formVerbatim)
		w.vector(4, encoded)
	}
	if w.bad {
		return nil, fmt.Errorf("%w: a field is too long", errRecord)
	}
	return w.b, nil
}

// UnmarshalBinary replaces the record by the one that b encodes, with times in
// UTC. It keeps nothing of b, neither as memory nor as a reference, so that b
// may be wiped or used again. On an error, which begins with "ticket: ", the
// record is unchanged; among the causes are a later revision and a state that
// was encoded by a Go release whose encoding this one does not know.
//
// Whatever b holds, time and memory are bounded by its length and by what 1 MiB
// of certificates costs.
func (r *Record) UnmarshalBinary(b []byte) error {
	if r == nil {
		return fmt.Errorf("%w: nil", errRecord)
	}
	in := reader{b: b}
	if revision := in.uint(1); revision != recordRevision {
		return fmt.Errorf("%w: revision %d", errRecord, revision)
	}
	read := Record{ // calls are made in the order of the text
		Ticket:        bytes.Clone(in.vector(2)),
		Scope:         string(in.vector(2)),
		Server:        string(in.vector(2)),
		ServerName:    string(in.vector(2)),
		Endpoint:      string(in.vector(2)),
		ALPN:          string(in.vector(1)),
		Received:      in.time(),
		Expires:       in.time(),
		FullHandshake: in.time(),
	}
	if len(read.Ticket) == 0 {
		return fmt.Errorf("%w: no ticket", errRecord)
	}
	encoded, err := in.state() // fails if anything before it was cut off
	if err != nil {
		return err
	}
	// The state, and with it certificates that crypto/tls shares among
	// sessions, alias encoded from here on (rule T10): it must not be wiped,
	// and stays as long as any of them.
	if read.State, err = tls.ParseSessionState(encoded); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	*r = read
	return nil
}

// String is one line without secrets, that of the session's [Info].
func (r Record) String() string { return r.info().String() }

// GoString is String in the form of %#v.
func (r Record) GoString() string { return "ticket.Record(" + r.String() + ")" }

// Format writes String for every verb, so that none reaches the fields, and
// GoString for %#v.
func (r Record) Format(f fmt.State, verb rune) { format(f, verb, r) }

// LogValue is the same for log/slog, as a group.
func (r Record) LogValue() slog.Value { return r.info().LogValue() }

// info is what may be shown of the record.
func (r Record) info() Info {
	info, _ := Inspect(r.Ticket, r.State) // what cannot be read is not shown
	info.ID = id(r.Ticket)                // Inspect gives none without a state
	info.ServerName, info.Endpoint, info.ALPN = r.ServerName, r.Endpoint, r.ALPN
	info.Received, info.Expires, info.FullHandshake = r.Received, r.Expires, r.FullHandshake
	return info
}

// fieldsSize is the length of what appendFields appends.
func (r *Record) fieldsSize() int {
	return 1 + 2 + len(r.Ticket) +
		2 + len(r.Scope) + 2 + len(r.Server) + 2 + len(r.ServerName) + 2 + len(r.Endpoint) +
		1 + len(r.ALPN) + 3*8
}

// appendFields appends what stands before the state.
func (r *Record) appendFields(w *writer) {
	w.uint(1, recordRevision)
	w.vector(2, r.Ticket)
	for _, name := range []string{r.Scope, r.Server, r.ServerName, r.Endpoint} {
		w.vector(2, []byte(name))
	}
	w.vector(1, []byte(r.ALPN))
	for _, t := range []time.Time{r.Received, r.Expires, r.FullHandshake} {
		w.uint(8, uint64(t.UnixMilli()))
	}
}

// state takes a state in either form and returns the bytes that crypto/tls
// encoded it to, in memory of their own.
func (r *reader) state() ([]byte, error) {
	switch r.uint(1) {
	case formVerbatim:
		if encoded := r.vector(4); !r.bad {
			return bytes.Clone(encoded), nil
		}
	case formCompact:
		return r.compact()
	}
	return nil, fmt.Errorf("%w: cut off, or of an unknown form", errRecord)
}

// time takes a Time. That of the zero time.Time is the zero value again.
func (r *reader) time() time.Time { return time.UnixMilli(int64(r.uint(8))).UTC() }

// A writer appends to b what a reader takes. After the first field too long
// for its length it is bad, and b of no use.
type writer struct {
	b   []byte
	bad bool
}

// uint appends a big-endian number of size bytes, at most 8.
func (w *writer) uint(size int, n uint64) {
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], n)
	w.bad = w.bad || size < 8 && n>>(8*size) > 0
	w.b = append(w.b, wide[8-size:]...)
}

// vector appends an opaque<..2^(8*size)-1>.
func (w *writer) vector(size int, opaque []byte) {
	w.uint(size, uint64(len(opaque)))
	w.b = append(w.b, opaque...)
}

// format is fmt.Formatter for what holds secrets: fmt would print fields for
// verbs that are not for strings, and knows types by other ways than methods.
func format(f fmt.State, verb rune, v interface {
	fmt.Stringer
	fmt.GoStringer
}) {
	if verb == 'v' && f.Flag('#') {
		io.WriteString(f, v.GoString())
		return
	}
	io.WriteString(f, v.String())
}
