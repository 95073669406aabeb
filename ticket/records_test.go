package ticket

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the files of testdata as they were made; those of a revision never change")

// What was written once stays readable for good: by this package, that is.
// What crypto/tls does not read any more is a miss.
func TestRecordsOfRevision1StayReadable(t *testing.T) {
	file := func(name string) string { return filepath.Join("testdata", "record", name) }
	if *update {
		writeGoldenRecords(t, file)
	}
	state := must(os.ReadFile(file("state")))
	want := goldenRecord(t, state)
	for _, name := range []string{"compact-1", "verbatim-1"} {
		var got Record
		require.NoError(t, got.UnmarshalBinary(must(os.ReadFile(file(name)))), name)
		sameRecord(t, want, &got)
		require.Equal(t, state, must(got.State.Bytes()), name)
	}
}

// goldenRecord has nothing in common with a record that could be made today.
func goldenRecord(t testing.TB, state []byte) *Record {
	parsed, err := tls.ParseSessionState(bytes.Clone(state))
	require.NoError(t, err)
	return &Record{
		Ticket: []byte("a ticket"), State: parsed,
		Scope: "the scope", Server: "the server", ServerName: "the name", Endpoint: "the endpoint", ALPN: "the protocol",
		Received:      time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
		Expires:       time.Date(2026, 1, 9, 3, 4, 5, 678e6, time.UTC),
		FullHandshake: time.Time{},
	}
}

// writeGoldenRecords needs no random source: RFC 6979 signatures of a key that
// is none.
func writeGoldenRecords(t *testing.T, file func(string) string) {
	id := goldenIdentity(t)
	w := newWire(id.chain[:2]...)
	w.extra = appendVector(nil, 3, []byte("of another layer"))
	w.early, w.alpn = 1, []byte("h3")
	w.chains = appendVector(nil, 3, appendVector(appendVector(nil, 3, id.chain[1]), 3, id.chain[2]))
	r := goldenRecord(t, w.bytes())
	require.NoError(t, os.MkdirAll(file(""), 0o755))
	require.NoError(t, os.WriteFile(file("state"), w.bytes(), 0o644))
	require.NoError(t, os.WriteFile(file("compact-1"), must(r.MarshalBinary()), 0o644))
	require.NoError(t, os.WriteFile(file("verbatim-1"), verbatim(r).bytes(), 0o644))
	writeSeeds(t, r)
}

func requireRecordError(t testing.TB, err error) {
	t.Helper()
	require.ErrorIs(t, err, errRecord)
	require.True(t, strings.HasPrefix(err.Error(), "ticket: "), "%v", err)
	require.False(t, strings.Contains(err.Error(), "\n"), "%v", err)
}

// checkRecord reads any bytes and reports whether they were a record.
func checkRecord(t testing.TB, b []byte) bool {
	t.Helper()
	var r, again Record
	if err := r.UnmarshalBinary(b); err != nil {
		if !errors.Is(err, errRecord) || r.Ticket != nil || r.State != nil {
			t.Fatalf("error %v, record %v", err, r)
		}
		return false
	}
	marshaled, err := r.MarshalBinary()
	require.NoError(t, err, "what was read can be written")
	require.NoError(t, again.UnmarshalBinary(marshaled))
	sameRecord(t, &r, &again)
	return true
}

// recordWire is a record in the notation above errRecord, written a second
// time.
type recordWire struct {
	revision byte
	ticket   []byte
	names    [4]string
	alpn     string
	times    [3]int64
	form     byte
	body     []byte
}

func (w recordWire) bytes() []byte {
	b := appendVector([]byte{w.revision}, 2, w.ticket)
	for _, name := range w.names {
		b = appendVector(b, 2, []byte(name))
	}
	b = appendVector(b, 1, []byte(w.alpn))
	for _, at := range w.times {
		b = binary.BigEndian.AppendUint64(b, uint64(at))
	}
	return append(append(b, w.form), w.body...)
}

// verbatim is the record with its state in the other form.
func verbatim(r *Record) recordWire {
	return recordWire{
		revision: 1, ticket: r.Ticket, alpn: r.ALPN,
		names: [4]string{r.Scope, r.Server, r.ServerName, r.Endpoint},
		times: [3]int64{r.Received.UnixMilli(), r.Expires.UnixMilli(), r.FullHandshake.UnixMilli()},
		form:  formVerbatim,
		body:  appendVector(nil, 4, must(r.State.Bytes())),
	}
}

// formOf is the form of the state in a record.
func formOf(t testing.TB, b []byte) byte {
	t.Helper()
	at := 1
	for _, size := range []int{2, 2, 2, 2, 2, 1} {
		length := 0
		for _, digit := range b[at : at+size] {
			length = length<<8 | int(digit)
		}
		at += size + length
	}
	return b[at+3*8]
}

// appendTable appends a table that says it is wrong bytes longer than it is.
func appendTable(b []byte, wrong int, certificates ...[]byte) []byte {
	return appendDeflated(b, tableOf(certificates...), wrong)
}

// appendDeflated is appendTable for what is no table, and more bytes after it.
func appendDeflated(b, plain []byte, wrong int, more ...byte) []byte {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(plain)+wrong))
	return appendVector(append(b, size[1:]...), 3, append(deflated(plain), more...))
}

func tableOf(certificates ...[]byte) (plain []byte) {
	for _, der := range certificates {
		plain = appendVector(plain, 3, der)
	}
	return plain
}

// deflated is of another level than the product's: a reader takes any.
func deflated(plain []byte) []byte {
	var out bytes.Buffer
	w := must(flate.NewWriter(&out, flate.BestCompression))
	w.Write(plain)
	w.Close()
	return out.Bytes()
}

// publicIdentity makes a chain of certificates with what public authorities
// put into theirs, of which sent are sent: those of newIdentity have little
// but a key and a signature. All of a kind share one key.
func publicIdentity(t testing.TB, key, rootKey crypto.Signer, sent int) identity {
	t.Helper()
	root := template("Example Root X1", time.Date(2042, 2, 3, 4, 5, 6, 0, time.UTC))
	middle := template("Example Issuing Authority E7", time.Date(2041, 2, 3, 4, 5, 6, 0, time.UTC))
	for _, ca := range []*x509.Certificate{root, middle} {
		ca.IsCA, ca.BasicConstraintsValid = true, true
		ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		ca.Subject.Country, ca.Subject.Organization = []string{"US"}, []string{"Example Trust Services"}
		ca.SubjectKeyId = random(20)
	}
	leaf := template(serverName, time.Date(2061, 2, 3, 4, 5, 6, 0, time.UTC))
	leaf.DNSNames = []string{serverName, "www." + serverName}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.SubjectKeyId = random(20)
	leaf.ExtraExtensions = []pkix.Extension{{ // two timestamps, RFC 6962
		Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: random(242),
	}}
	for _, c := range []*x509.Certificate{middle, leaf} {
		c.SerialNumber.SetBytes(random(16))
		c.CRLDistributionPoints = []string{"http://e7.c.trust.example/54.crl"}
		c.IssuingCertificateURL = []string{"http://e7.i.trust.example/"}
		c.PolicyIdentifiers = []asn1.ObjectIdentifier{{2, 23, 140, 1, 2, 1}}
	}
	sign := func(c, parent *x509.Certificate, key, by crypto.Signer) []byte {
		return must(x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by))
	}
	id := identity{key: key, roots: x509.NewCertPool()}
	id.chain = [][]byte{
		sign(leaf, middle, key, key),
		sign(middle, root, key, rootKey),
		sign(root, root, rootKey, rootKey),
	}
	id.trust(t, id.chain[2])
	if sent == 1 { // the client trusts the leaf itself
		id.roots = x509.NewCertPool()
		id.trust(t, id.chain[0])
	}
	id.chain = id.chain[:sent]
	return id
}

// goldenIdentity is the same in every run: its key is no secret, and without
// a random source signatures are deterministic.
func goldenIdentity(t testing.TB) identity {
	t.Helper()
	scalar := make([]byte, 32)
	scalar[31] = 1
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar))
	var id identity
	parent := template("golden root", time.Date(2043, 2, 3, 4, 5, 6, 0, time.UTC))
	for _, name := range []string{"golden root", "golden intermediate", "golden leaf"} {
		c := template(name, parent.NotAfter.AddDate(-1, 0, 0))
		der := must(x509.CreateCertificate(nil, c, parent, key.Public(), key))
		id.chain = append([][]byte{der}, id.chain...)
		parent = c
	}
	return id
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// allocated is the number of bytes that f allocates: the least of some calls,
// since what earlier tests left running allocates, too.
func allocated(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// writeSeeds writes what the fuzz targets of records begin with.
func writeSeeds(t *testing.T, r *Record) {
	whole, state := must(r.MarshalBinary()), must(r.State.Bytes())
	plain := verbatim(r)
	lone := newWire(goldenIdentity(t).chain[0])
	server := newWire()
	server.typ, server.tail = stateServer, nil
	old := newWire(goldenIdentity(t).chain[0])
	old.version, old.tail = tls.VersionTLS12, []byte{0, 29}
	for target, seeds := range map[string]map[string][]byte{
		"FuzzRecord": {
			"empty": nil, "compact": whole, "verbatim": plain.bytes(), "truncated": whole[:len(whole)/2],
			"trailing": append(bytes.Clone(whole), "later"...), "revision-2": append([]byte{2}, whole[1:]...),
			"no-ticket": recordWire{revision: 1}.bytes(),
			"bomb": recordWire{revision: 1, ticket: []byte("t"), form: formCompact, body: appendTable(
				appendVector(appendVector(appendVector(appendVector(nil, 4, []byte("head")), 3, make([]byte, 3000)), 3, nil), 4, nil),
				0, make([]byte, 1<<19))}.bytes(),
		},
		"FuzzRecordOfState": {
			"chain": state, "lone": lone.bytes(), "server": server.bytes(), "tls12": old.bytes(),
			"trailing": append(lone.bytes(), "later"...), "truncated": state[:len(state)-1], "empty": nil,
		},
	} {
		for name, seed := range seeds {
			writeSeed(t, target, name, seed)
		}
	}
}

func writeSeed(t *testing.T, target, name string, args ...[]byte) {
	t.Helper()
	dir := filepath.Join("testdata", "fuzz", target)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	text := "go test fuzz v1\n"
	for _, arg := range args {
		text += fmt.Sprintf("[]byte(%q)\n", arg)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}
