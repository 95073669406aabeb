package ticket

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the compact form has no room for is kept all the same.
func TestStateThatDoesNotFoldIsKeptVerbatim(t *testing.T) {
	leaf := template("leaf", time.Date(2061, 2, 3, 4, 5, 6, 0, time.UTC))
	var many [][]byte
	for n := range 257 {
		leaf.SerialNumber.SetInt64(int64(n + 1))
		many = append(many, issue(t, leaf, leaf, ecdsaKey()))
	}
	leaf.DNSNames = []string{strings.Repeat("x", maxCertificates)}
	huge := issue(t, leaf, leaf, ecdsaKey())
	chainOf := func(n int) []byte { return appendVector(nil, 3, bytes.Repeat(appendVector(nil, 3, many[0]), n)) }
	leaf.DNSNames[0] = leaf.DNSNames[0][:maxCertificates/2]
	half, other := issue(t, leaf, leaf, ecdsaKey()), issue(t, leaf, leaf, ecdsaKey())
	for _, c := range []struct {
		why  string
		wire func() wire
		form byte
	}{
		{"256 certificates have an index", func() wire { return newWire(many[:256]...) }, formCompact},
		{"257 do not", func() wire { return newWire(many...) }, formVerbatim},
		{"a chain of 255", func() wire { w := newWire(many[0]); w.chains = chainOf(255); return w }, formCompact},
		{"a chain of 256", func() wire { w := newWire(many[0]); w.chains = chainOf(256); return w }, formVerbatim},
		{"two chains", func() wire {
			w := newWire(many[0])
			w.chains = append(chainOf(2), appendVector(nil, 3, appendVector(nil, 3, many[1]))...)
			return w
		}, formCompact},
		{"a list above the bound", func() wire { return newWire(huge) }, formVerbatim},
		{"a chain above the bound", func() wire {
			w := newWire(many[0])
			w.chains = appendVector(nil, 3, appendVector(nil, 3, huge))
			return w
		}, formVerbatim},
		{"a list above the bound, of one certificate", func() wire {
			return newWire(slices.Repeat(many[:1], maxCertificates/len(many[0]))...)
		}, formVerbatim},
		{"chains above the bound, of one certificate", func() wire {
			w := newWire(many[0])
			w.chains = bytes.Repeat(chainOf(255), maxCertificates/255/len(many[0])+1)
			return w
		}, formVerbatim},
		{"a table above the bound, of two lists", func() wire {
			w := newWire(half)
			w.chains = appendVector(nil, 3, appendVector(nil, 3, other))
			return w
		}, formVerbatim},
	} {
		t.Run(c.why, func(t *testing.T) {
			state, err := tls.ParseSessionState(c.wire().bytes())
			require.NoError(t, err)
			want := recordOf(session{[]byte("ticket"), state})
			b := must(want.MarshalBinary())
			require.Equal(t, c.form, formOf(t, b))
			var got Record
			require.NoError(t, got.UnmarshalBinary(b))
			sameRecord(t, want, &got)
			require.Equal(t, b, must(want.MarshalBinary()), "MarshalBinary wiped what others share")
		})
	}
}

// crypto/tls shares certificates among sessions, and with them the memory that
// they were parsed from.
func TestMarshalWipesNothingThatOthersShare(t *testing.T) {
	id := newIdentity(t, ecdsaKey(), 2)
	root := template("root", time.Date(2042, 2, 3, 4, 5, 6, 0, time.UTC))
	root.IsCA, root.BasicConstraintsValid = true, true
	root.DNSNames = []string{strings.Repeat("x", maxCertificates)} // verbatim, so crypto/tls is asked
	id.roots = x509.NewCertPool()
	id.trust(t, issue(t, root, root, ecdsaKey()))
	want := recordOf(sessionOf(t, id, nil))
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it ends the sharing
	b := must(want.MarshalBinary())
	require.Equal(t, byte(formVerbatim), formOf(t, b))
	var got Record
	require.NoError(t, got.UnmarshalBinary(b))
	sameRecord(t, want, &got)
}

// What is not true is not worth the memory it asks for.
func TestShortTableCannotClaimToBeLong(t *testing.T) {
	_, err := inflate([]byte{3, 0}, 3) // fills the pool
	requireRecordError(t, err)
	for _, deflated := range [][]byte{nil, make([]byte, 100)} {
		cost := allocated(func() { _, err = inflate(deflated, maxCertificates) })
		requireRecordError(t, err)
		require.Less(t, cost, uint64(maxCertificates/2))
	}
}

// A Go release that changes more than it appends must not be misread.
func TestForeignEncodingsAreNotTakenApart(t *testing.T) {
	leaf := newIdentity(t, ecdsaKey(), 1).chain[0]
	_, ok := compactState(newWire(leaf).bytes())
	require.True(t, ok, "the test does not test")
	for _, c := range []struct {
		why    string
		change func(*wire)
	}{
		{"a new type announces a new encoding", func(w *wire) { w.typ = 3 }},
		{"type 0 is none", func(w *wire) { w.typ = 0 }},
		{"no secret", func(w *wire) { w.secret = nil }},
		{"a flag is 0 or 1: master secret", func(w *wire) { w.ems = 2 }},
		{"a flag is 0 or 1: early data", func(w *wire) { w.early = 2 }},
		{"a client without the server's certificate", func(w *wire) { w.certificates = nil }},
		{"a chain of no leaf", func(w *wire) {
			w.typ, w.certificates, w.chains = stateServer, nil, appendVector(nil, 3, appendVector(nil, 3, leaf))
		}},
		{"a certificate cut off", func(w *wire) { w.certificates = w.certificates[:9] }},
		{"extensions cut off", func(w *wire) { w.certificates = w.certificates[:len(w.certificates)-1] }},
		{"a chain cut off", func(w *wire) { w.chains = []byte{0, 0, 9} }},
		{"a certificate of a chain cut off", func(w *wire) { w.chains = []byte{0, 0, 4, 0, 0, 9, 1} }},
	} {
		w := newWire(leaf)
		c.change(&w)
		_, ok := compactState(w.bytes())
		require.False(t, ok, c.why)
	}
	for n := range newWire(leaf).bytes() {
		if c, ok := compactState(newWire(leaf).bytes()[:n]); ok {
			require.Less(t, len(c.tail), len(newWire().tail), "%d bytes", n)
		}
	}
}

// And one that appends is kept to the last byte.
func TestWhatALaterGoAppendsIsKept(t *testing.T) {
	encoded := newWire(newIdentity(t, ecdsaKey(), 2).chain...).bytes()
	encoded = append(encoded, "a field of a later Go release"...)
	c, ok := compactState(encoded)
	require.True(t, ok)
	w := writer{b: []byte{formCompact}}
	w.compact(c)
	r := reader{b: w.b}
	require.Equal(t, encoded, must(r.state()))
	require.Empty(t, r.b)
}

// compactOf is the body of a record of newWire with this instead of its
// certificates.
func compactOf(list, chains, table []byte) []byte {
	w := newWire()
	bare := w.bytes()
	b := appendVector(nil, 4, bare[:len(bare)-3-3-len(w.tail)])
	b = appendVector(b, 3, list)
	b = appendVector(b, 3, chains)
	b = appendVector(b, 4, w.tail)
	return append(b, table...)
}

func TestMalformedStatesAreRefusedAtLittleCost(t *testing.T) {
	leaf := newIdentity(t, ecdsaKey(), 1).chain[0]
	entry, table := []byte{0, 0, 0}, appendTable(nil, 0, leaf)
	good := recordWire{revision: 1, ticket: []byte("ticket"), form: formCompact, body: compactOf(entry, nil, table)}
	require.NoError(t, new(Record).UnmarshalBinary(good.bytes()), "the test does not test")
	huge := make([]byte, maxCertificates-3)
	for _, c := range []struct {
		why  string
		form byte
		body []byte
	}{
		{"no such form", 2, compactOf(entry, nil, table)},
		{"no certificates in the table", formCompact, compactOf(entry, nil, appendTable(nil, 0))},
		{"an index beyond the table", formCompact, compactOf([]byte{1, 0, 0}, nil, table)},
		{"an index of a chain beyond the table", formCompact, compactOf(entry, []byte{1, 1}, table)},
		{"an entry cut off", formCompact, compactOf(entry[:2], nil, table)},
		{"a chain cut off", formCompact, compactOf(entry, []byte{2, 0}, table)},
		{"a table longer than it says", formCompact, compactOf(entry, nil, appendTable(nil, -1, leaf))},
		{"a table shorter than it says", formCompact, compactOf(entry, nil, appendTable(nil, 1, leaf))},
		{"a table of 16 MiB, it says", formCompact, compactOf(entry, nil, appendTable(nil, 1<<24-1-len(leaf)-3, leaf))},
		{"a table above the bound", formCompact, compactOf([]byte{1, 0, 0}, nil, appendTable(nil, 0, huge, leaf))},
		{"a table that says nothing", formCompact, compactOf(entry, nil, []byte{0, 0, 0, 0, 0, 0})},
		{"a table of nothing", formCompact, compactOf(entry, nil, []byte{0, 16, 0, 0, 0, 0})},
		{"a table that is not compressed", formCompact, compactOf(entry, nil, appendVector([]byte{0, 0, 9}, 3, []byte("\xffnonsense")))},
		{"more after the table", formCompact, compactOf(entry, nil, appendDeflated(nil, tableOf(leaf), 0, 0xff))},
		{"a certificate of the table cut off", formCompact, compactOf(entry, nil, appendDeflated(nil, append(tableOf(leaf), 0, 0, 9), 0))},
		{"257 certificates", formCompact, compactOf(entry, nil, appendTable(nil, 0, append([][]byte{leaf}, make([][]byte, 256)...)...))},
		{"no certificate at all", formCompact, compactOf(entry, nil, appendTable(nil, 0, []byte("none")))},
		{"one certificate a million times", formCompact, compactOf(bytes.Repeat(entry, 1<<20), nil, appendTable(nil, 0, huge))},
		{"and in chains", formCompact, compactOf(entry, bytes.Repeat([]byte{2, 0, 0}, 1<<20), appendTable(nil, 0, huge))},
		{"twice, in two chains", formCompact, compactOf(entry, []byte{1, 0, 1, 0}, appendTable(nil, 0, huge))},
		{"and in one", formCompact, compactOf(entry, append([]byte{255}, make([]byte, 255)...), appendTable(nil, 0, huge))},
		{"verbatim nonsense", formVerbatim, appendVector(nil, 4, []byte("nonsense"))},
		{"verbatim nothing", formVerbatim, appendVector(nil, 4, nil)},
	} {
		t.Run(c.why, func(t *testing.T) {
			w := good
			w.form, w.body = c.form, c.body
			var err error
			cost := allocated(func() { err = new(Record).UnmarshalBinary(w.bytes()) })
			require.Less(t, cost, uint64(3*len(w.bytes())+8<<20), "bytes allocated")
			requireRecordError(t, err)
		})
	}
}

// The bounds that design.md sets, with certificates like those of public
// authorities; those of tests are shorter, and alike.
func TestRecordIsAtMost70PercentOfTicketAndState(t *testing.T) {
	for _, c := range []struct {
		why  string
		id   identity
		most float64
	}{
		{"ECDSA: leaf and intermediate, under an RSA root", publicIdentity(t, ecdsaKey(), rsaKey(), 2), 0.7},
		{"ECDSA: leaf and intermediate, under an ECDSA root", publicIdentity(t, ecdsaKey(), ecdsaKey(), 2), 0.7},
		{"RSA: leaf and intermediate, root verified", publicIdentity(t, rsaKey(), rsaKey(), 2), 0.7},
		{"RSA: all three sent", publicIdentity(t, rsaKey(), rsaKey(), 3), 0.7},
		{"ECDSA: a lone leaf, of which nothing can be saved", publicIdentity(t, ecdsaKey(), ecdsaKey(), 1), 1.1},
		{"RSA: a lone leaf", publicIdentity(t, rsaKey(), rsaKey(), 1), 1.1},
		{"of tests, ECDSA: leaf and intermediate", newIdentity(t, ecdsaKey(), 2), 0.7},
		{"of tests, RSA: all three sent", newIdentity(t, rsaKey(), 3), 0.7},
		{"of tests, ECDSA: a lone leaf", newIdentity(t, ecdsaKey(), 1), 1.2},
	} {
		s := sessionOf(t, c.id, nil)
		plain := len(s.ticket) + len(must(s.state.Bytes()))
		record := len(must((&Record{Ticket: s.ticket, State: s.state}).MarshalBinary()))
		ratio := float64(record) / float64(plain)
		t.Logf("%.2f: %d of %d bytes; %s", ratio, record, plain, c.why)
		require.LessOrEqual(t, ratio, c.most, c.why)
	}
}
