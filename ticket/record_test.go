package ticket

import (
	"bytes"
	"compress/flate"
	"crypto/tls"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// sessionKinds are sessions of every shape that crypto/tls encodes.
var sessionKinds = []struct {
	why  string
	make func(testing.TB) session
}{
	{"a lone leaf", func(t testing.TB) session { return newSession(t, tls.VersionTLS13) }},
	{"1.2: a curve at the end", func(t testing.TB) session { return newSession(t, tls.VersionTLS12) }},
	{"a chain, verified", func(t testing.TB) session { return sessionOf(t, newIdentity(t, ecdsaKey(), 2), nil) }},
	{"a chain of three, RSA", func(t testing.TB) session { return sessionOf(t, newIdentity(t, rsaKey(), 3), nil) }},
	{"no verified chain", func(t testing.TB) session {
		return sessionOf(t, newIdentity(t, ecdsaKey(), 2), &tls.Config{InsecureSkipVerify: true})
	}},
	{"early data and its protocol", func(t testing.TB) session {
		s := newSession(t, tls.VersionTLS13)
		s.state.EarlyData = true
		return s
	}},
	{"entries of other layers", func(t testing.TB) session {
		s := newSession(t, tls.VersionTLS13)
		s.state.Extra = [][]byte{[]byte("quic-go\x00..."), {}, []byte("ours")}
		return s
	}},
	{"staple and timestamps", func(t testing.TB) session {
		id := newIdentity(t, ecdsaKey(), 2)
		server := id.certificates()
		server[0].OCSPStaple = []byte("a staple")
		server[0].SignedCertificateTimestamps = [][]byte{[]byte("one"), []byte("two")}
		s, _ := connect(t, &tls.Config{RootCAs: id.roots, ServerName: serverName}, &tls.Config{Certificates: server})
		return s
	}},
	{"a server's: no certificate", func(t testing.TB) session {
		id := newIdentity(t, ecdsaKey(), 1)
		_, s := connect(t, &tls.Config{RootCAs: id.roots, ServerName: serverName},
			&tls.Config{Certificates: id.certificates()})
		return s
	}},
	{"a server's: the client's chain", func(t testing.TB) session {
		id, clientID := newIdentity(t, ecdsaKey(), 1), newIdentity(t, ecdsaKey(), 2)
		_, s := connect(t,
			&tls.Config{RootCAs: id.roots, ServerName: serverName, Certificates: clientID.certificates()},
			&tls.Config{Certificates: id.certificates(), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clientID.roots})
		return s
	}},
}

// sessionOf is a client's session with a server of that identity.
func sessionOf(t testing.TB, id identity, client *tls.Config) session {
	t.Helper()
	if client == nil {
		client = &tls.Config{RootCAs: id.roots}
	}
	client.ServerName = serverName
	s, _ := connect(t, client, &tls.Config{Certificates: id.certificates()})
	return s
}

// recordOf is a record with something in every field.
func recordOf(s session) *Record {
	return &Record{
		Ticket: s.ticket, State: s.state,
		Scope: "a scope", Server: "server.example:443", ServerName: serverName,
		Endpoint: "192.0.2.1:443", ALPN: "h2",
		Received:      time.UnixMilli(1_800_000_000_123).UTC(),
		Expires:       time.UnixMilli(1_800_007_200_456).UTC(),
		FullHandshake: time.UnixMilli(1_799_999_000_789).UTC(),
	}
}

// sameRecord compares what crypto/tls encodes instead of the pointers.
func sameRecord(t testing.TB, want, got *Record) {
	t.Helper()
	require.Equal(t, must(want.State.Bytes()), must(got.State.Bytes()), "state")
	w, g := *want, *got
	w.State, g.State = nil, nil
	type fields Record // by their own form, not by String
	require.Equal(t, fields(w), fields(g))
}

func TestRecordComesBackAsItWent(t *testing.T) {
	for _, kind := range sessionKinds {
		t.Run(kind.why, func(t *testing.T) {
			want := recordOf(kind.make(t))
			encoded := must(want.State.Bytes())
			b := must(want.MarshalBinary())
			require.Equal(t, byte(formCompact), formOf(t, b), "not understood: %s", whatToDo)
			c, _ := compactState(encoded)
			require.Len(t, b, want.fieldsSize()+1+c.size())
			require.Equal(t, len(b), cap(b), "the buffer grew, and left a secret behind")

			var got Record
			require.NoError(t, got.UnmarshalBinary(b))

			sameRecord(t, want, &got)
			require.Equal(t, b, must(got.MarshalBinary()), "and goes again the same way")
			require.Equal(t, encoded, must(want.State.Bytes()), "MarshalBinary changed the state")
		})
	}
}

func TestFieldsThatAreUnknownComeBackUnknown(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	want := &Record{Ticket: s.ticket, State: s.state}
	var got Record
	require.NoError(t, got.UnmarshalBinary(must(want.MarshalBinary())))
	sameRecord(t, want, &got)
}

// What matters of a record is that a server takes it.
func TestSessionOutOfARecordResumes(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		id := newIdentity(t, ecdsaKey(), 2)
		server := &tls.Config{Certificates: id.certificates()}
		client := &tls.Config{RootCAs: id.roots, ServerName: serverName, MaxVersion: version}
		s, _ := connect(t, client.Clone(), server)
		b := must(recordOf(s).MarshalBinary())
		var back Record
		require.NoError(t, back.UnmarshalBinary(b))
		clear(b)
		client.ClientSessionCache = offer{must(tls.NewResumptionState(back.Ticket, back.State))}

		near, far := tlstest.Pipe()
		served := make(chan error, 1)
		go func() { served <- tls.Server(far, server).Handshake() }()
		conn := tls.Client(near, client)
		require.NoError(t, conn.Handshake())
		require.NoError(t, <-served)
		require.True(t, conn.ConnectionState().DidResume, tls.VersionName(version))
		near.Close()
		far.Close()
	}
}

// offer is a cache of one session.
type offer struct{ session *tls.ClientSessionState }

func (o offer) Get(string) (*tls.ClientSessionState, bool) { return o.session, true }
func (offer) Put(string, *tls.ClientSessionState)          {}

func TestTimesAreKeptToTheMillisecondRoundedDown(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	for _, c := range []struct {
		why      string
		in, want time.Time
	}{
		{"exact", time.UnixMilli(1_800_000_000_001), time.UnixMilli(1_800_000_000_001)},
		{"never later than it was", time.Unix(1_800_000_000, 1_999_999), time.UnixMilli(1_800_000_000_001)},
		{"nor before 1970", time.Unix(-1, 999_999), time.Unix(-1, 0)},
		{"zero stays unknown", time.Time{}, time.Time{}},
		{"zero in another zone is zero", time.Time{}.In(time.FixedZone("", 3600)), time.Time{}},
		{"1970 is not unknown", time.Unix(0, 0), time.Unix(0, 0)},
		{"no end", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		r := &Record{Ticket: s.ticket, State: s.state, Received: c.in, Expires: c.in, FullHandshake: c.in}
		var got Record
		require.NoError(t, got.UnmarshalBinary(must(r.MarshalBinary())), c.why)
		for _, at := range []time.Time{got.Received, got.Expires, got.FullHandshake} {
			require.Equal(t, c.want.UTC(), at, c.why)
			require.Equal(t, c.in.IsZero(), at == time.Time{}, c.why)
		}
	}
}

func TestWhatHasNoRecordIsRefused(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	long := strings.Repeat("x", 1<<16)
	for _, c := range []struct {
		why    string
		change func(*Record)
	}{
		{"no ticket", func(r *Record) { r.Ticket = nil }},
		{"a ticket longer than the protocol has", func(r *Record) { r.Ticket = []byte(long) }},
		{"no state", func(r *Record) { r.State = nil }},
		{"a state that crypto/tls cannot read back", func(r *Record) { r.State = new(tls.SessionState) }},
		{"a state that crypto/tls cannot encode", func(r *Record) { r.State.Extra = [][]byte{make([]byte, 1<<24)} }},
		{"a long scope", func(r *Record) { r.Scope = long }},
		{"a long server", func(r *Record) { r.Server = long }},
		{"a long name", func(r *Record) { r.ServerName = long }},
		{"a long endpoint", func(r *Record) { r.Endpoint = long }},
		{"a protocol that ALPN cannot name", func(r *Record) { r.ALPN = long[:256] }},
	} {
		t.Run(c.why, func(t *testing.T) {
			state := *s.state
			r := recordOf(session{s.ticket, &state})
			c.change(r)
			b, err := r.MarshalBinary()
			requireRecordError(t, err)
			require.Nil(t, b)
		})
	}
	var none *Record
	_, err := none.MarshalBinary()
	requireRecordError(t, err)
	requireRecordError(t, none.UnmarshalBinary(must(recordOf(s).MarshalBinary())))
}

func TestLongestFieldsFit(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	long := strings.Repeat("x", 1<<16-1)
	want := &Record{Ticket: []byte(long), State: s.state, Scope: long, Server: long, ServerName: long,
		Endpoint: long, ALPN: long[:255]}
	var got Record
	require.NoError(t, got.UnmarshalBinary(must(want.MarshalBinary())))
	sameRecord(t, want, &got)
}

func TestUnmarshalKeepsNothingOfItsInput(t *testing.T) {
	for _, form := range []byte{formCompact, formVerbatim} {
		want := recordOf(newSession(t, tls.VersionTLS13))
		b := must(want.MarshalBinary())
		if form == formVerbatim {
			b = verbatim(want).bytes()
		}
		var got Record
		require.NoError(t, got.UnmarshalBinary(b))
		for i := range b {
			b[i] ^= 0xff
		}
		sameRecord(t, want, &got)
	}
}

// Nor does it remember what was there: a buffer that is used again must not
// bring back the certificates of the record before.
func TestUnmarshalMayBeGivenTheSameBufferAgain(t *testing.T) {
	leaf := template("leaf", time.Date(2061, 2, 3, 4, 5, 6, 0, time.UTC))
	bySize := make(map[int][]byte) // of the compressed table
	for n := range 1000 {
		leaf.SerialNumber.SetInt64(int64(n + 1<<20))
		der := issue(t, leaf, leaf, rsaKey())
		size := len(deflated(tableOf(der)))
		first := bySize[size]
		if bySize[size] = der; first == nil || len(first) != len(der) {
			continue
		}
		w := recordWire{revision: 1, ticket: []byte("ticket"), form: formCompact}
		w.body = compactOf([]byte{0, 0, 0}, nil, appendTable(nil, 0, first))
		b := w.bytes()
		require.NoError(t, new(Record).UnmarshalBinary(b))
		w.body = compactOf([]byte{0, 0, 0}, nil, appendTable(nil, 0, der))
		require.Equal(t, len(b), copy(b, w.bytes()))
		var got Record
		require.NoError(t, got.UnmarshalBinary(b))
		require.Equal(t, newWire(der).bytes(), must(got.State.Bytes()))
		return
	}
	t.Fatal("no two tables of one size")
}

func TestEveryPrefixIsAnErrorAndChangesNothing(t *testing.T) {
	r := recordOf(sessionOf(t, newIdentity(t, ecdsaKey(), 2), nil))
	for _, b := range [][]byte{must(r.MarshalBinary()), verbatim(r).bytes()} {
		for n := range b {
			got := Record{Scope: "as it was"}
			requireRecordError(t, got.UnmarshalBinary(b[:n:n]))
			require.Equal(t, Record{Scope: "as it was"}, got)
		}
	}
}

// Nothing in a record says that it was changed, that is what sealing is for;
// but a change makes an error or another record, and nothing in between.
func TestFlippedBitsMakeAnErrorOrARecord(t *testing.T) {
	id := newIdentity(t, ecdsaKey(), 1)
	r := &Record{Ticket: []byte("t"), State: sessionOf(t, id, nil).state, Scope: "s", ALPN: "h2"}
	plain, folded := verbatim(r).bytes(), must(r.MarshalBinary())
	leaf := bytes.Index(plain, id.chain[0])
	for _, c := range []struct {
		b          []byte
		start, end int // of the certificate: others test its parsers
	}{
		{plain, leaf, leaf + len(id.chain[0])},
		{folded, len(folded) - len((table{id.chain[0]}).deflate()), len(folded)},
	} {
		read := 0
		for bit := range 8 * len(c.b) {
			at := bit / 8
			if at >= c.start && at < c.end && bit%8 != at%8 {
				continue
			}
			flipped := bytes.Clone(c.b)
			flipped[at] ^= 1 << (bit % 8)
			if checkRecord(t, flipped) {
				read++
			}
		}
		require.NotZero(t, read, "the test tests one half only")
	}
}

func TestRecordWithoutATicketIsNone(t *testing.T) {
	w := verbatim(recordOf(newSession(t, tls.VersionTLS13)))
	require.True(t, checkRecord(t, w.bytes()), "the test does not test")
	w.ticket = nil
	require.False(t, checkRecord(t, w.bytes()))
}

func TestWhatFollowsTheLastFieldOfARecordIsIgnored(t *testing.T) {
	want := recordOf(newSession(t, tls.VersionTLS13))
	b := append(must(want.MarshalBinary()), "fields of a later version"...)
	var got Record
	require.NoError(t, got.UnmarshalBinary(b))
	sameRecord(t, want, &got)
}

func TestOtherRevisionsAreRefused(t *testing.T) {
	b := must(recordOf(newSession(t, tls.VersionTLS13)).MarshalBinary())
	require.Equal(t, byte(1), b[0])
	for _, revision := range []byte{0, 2, 255} {
		b[0] = revision
		requireRecordError(t, new(Record).UnmarshalBinary(b))
	}
	requireRecordError(t, new(Record).UnmarshalBinary(nil))
}

// The comment above Record says so; this says it a second time.
func TestRecordIsLaidOutAsItsCommentSays(t *testing.T) {
	id := newIdentity(t, ecdsaKey(), 2)
	r := recordOf(sessionOf(t, id, nil))
	encoded := must(r.State.Bytes())
	var root []byte // the chain ends with it, and with nothing else
	chains := encoded[bytes.LastIndex(encoded, id.chain[1])+len(id.chain[1]):]
	root = chains[3 : len(chains)-12]
	w := verbatim(r)
	w.form = formCompact
	certificates := bytes.Index(encoded, id.chain[0]) - 6
	w.body = appendVector(nil, 4, encoded[:certificates])
	w.body = appendVector(w.body, 3, []byte{0, 0, 0, 1, 0, 0})
	w.body = appendVector(w.body, 3, []byte{2, 1, 2})
	w.body = appendVector(w.body, 4, encoded[len(encoded)-12:])
	w.body = appendTable(w.body, 0, id.chain[0], id.chain[1], root)
	b := must(r.MarshalBinary())
	head := len(w.bytes()) - len(deflated(tableOf(id.chain[0], id.chain[1], root))) - 3
	require.Equal(t, w.bytes()[:head], b[:head], "all but the compressed table")
	require.Equal(t, tableOf(id.chain[0], id.chain[1], root), must(io.ReadAll(flate.NewReader(bytes.NewReader(b[head+3:])))))
	var got Record
	require.NoError(t, got.UnmarshalBinary(w.bytes()))
	sameRecord(t, r, &got)
}

// Compressors and readers are shared among goroutines, with what they did
// last.
func TestRecordsAreMadeAndReadConcurrently(t *testing.T) {
	var records []*Record
	for _, kind := range sessionKinds {
		records = append(records, recordOf(kind.make(t)))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for _, want := range append(records, records...) {
				b, err := want.MarshalBinary()
				if err == nil {
					err = new(Record).UnmarshalBinary(b)
				}
				var got Record
				if err == nil {
					err = got.UnmarshalBinary(b)
				}
				if err != nil || !bytes.Equal(must(want.State.Bytes()), must(got.State.Bytes())) {
					t.Errorf("another state came back, error %v", err)
				}
			}
		})
	}
	group.Wait()
}
