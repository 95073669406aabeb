package ticket

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/big"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A session is what a session cache is given: a ticket and its state.
type session struct {
	ticket []byte
	state  *tls.SessionState
}

// keep is a client session cache that offers nothing and remembers the last
// session it was given.
type keep struct{ last *tls.ClientSessionState }

func (k *keep) Get(string) (*tls.ClientSessionState, bool)    { return nil, false }
func (k *keep) Put(_ string, session *tls.ClientSessionState) { k.last = session }

// connect makes one handshake in memory and returns both ends' sessions. It
// sets the hooks in the configurations that it needs for this.
func connect(t testing.TB, client, server *tls.Config) (ours, theirs session) {
	t.Helper()
	kept := new(keep)
	client.ClientSessionCache = kept
	server.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		sealed, err := server.EncryptTicket(cs, state)
		theirs = session{sealed, state}
		return sealed, err
	}
	near, far := tlstest.Pipe()
	defer near.Close()
	defer far.Close()
	served := make(chan error, 1)
	go func() {
		_, err := tls.Server(far, server).Write([]byte{0})
		served <- err
	}()
	// In TLS 1.3 the ticket precedes the byte; reading one brings the other.
	_, err := io.ReadFull(tls.Client(near, client), make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, <-served)
	ours.ticket, ours.state, err = kept.last.ResumptionState()
	require.NoError(t, err)
	return ours, theirs
}

// newSession is the client's session of a default handshake of that version,
// with ALPN, so that its state may be set to allow early data.
func newSession(t testing.TB, version uint16) session {
	t.Helper()
	id := newIdentity(t, ecdsaKey(), 1)
	ours, _ := connect(t,
		&tls.Config{RootCAs: id.roots, ServerName: serverName, MaxVersion: version, NextProtos: []string{"h3"}},
		&tls.Config{Certificates: id.certificates(), NextProtos: []string{"h3"}})
	return ours
}

const serverName = "server.example"

// An identity is a chain, leaf first, and the root that vouches for it.
type identity struct {
	key   crypto.Signer
	chain [][]byte
	roots *x509.CertPool
}

// newIdentity makes a chain of which sent certificates are sent: 1 is a
// self-signed leaf, 2 a leaf and an intermediate, 3 adds the root. Each ends
// at another time, so that no test passes by reading the wrong one.
func newIdentity(t testing.TB, key crypto.Signer, sent int) identity {
	t.Helper()
	leaf := template("leaf", time.Date(2061, 2, 3, 4, 5, 6, 0, time.UTC))
	leaf.DNSNames = []string{serverName}
	id := identity{key: key, roots: x509.NewCertPool()}
	if sent == 1 {
		id.chain = [][]byte{issue(t, leaf, leaf, key)}
		id.trust(t, id.chain[0])
		return id
	}
	middle := template("intermediate", time.Date(2041, 2, 3, 4, 5, 6, 0, time.UTC))
	root := template("root", time.Date(2042, 2, 3, 4, 5, 6, 0, time.UTC))
	for _, ca := range []*x509.Certificate{middle, root} {
		ca.IsCA, ca.BasicConstraintsValid = true, true
	}
	id.chain = [][]byte{
		issue(t, leaf, middle, key),
		issue(t, middle, root, key),
		issue(t, root, root, key),
	}
	id.trust(t, id.chain[2])
	id.chain = id.chain[:sent]
	return id
}

func (i identity) certificates() []tls.Certificate {
	return []tls.Certificate{{Certificate: i.chain, PrivateKey: i.key}}
}

func (i identity) trust(t testing.TB, der []byte) {
	t.Helper()
	root, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	i.roots.AddCert(root)
}

func template(name string, notAfter time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC),
		NotAfter:     notAfter,
	}
}

// issue signs with the one key that all certificates of an identity share.
func issue(t testing.TB, certificate, parent *x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, key.Public(), key)
	require.NoError(t, err)
	return der
}

// The keys are made once: an RSA key takes longer than all tests together.
var (
	ecdsaKey = sync.OnceValue(func() crypto.Signer {
		return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	})
	rsaKey = sync.OnceValue(func() crypto.Signer {
		return must(rsa.GenerateKey(rand.Reader, 2048))
	})
)

// mirror is what Inspect should say, read from the unexported fields of the
// state by reflection: a route that shares nothing with the encoding.
func mirror(t testing.TB, ticket []byte, state *tls.SessionState) Info {
	t.Helper()
	sum := sha256.Sum256(ticket)
	encoded, err := state.Bytes()
	require.NoError(t, err)
	info := Info{
		ID:                   hex.EncodeToString(sum[:8]),
		Version:              uint16(field(t, state, "version").Uint()),
		CipherSuite:          uint16(field(t, state, "cipherSuite").Uint()),
		Received:             time.Unix(int64(field(t, state, "createdAt").Uint()), 0),
		EarlyData:            state.EarlyData,
		ExtendedMasterSecret: field(t, state, "extMasterSecret").Bool(),
		Client:               field(t, state, "isClient").Bool(),
		Certificates:         field(t, state, "peerCertificates").Len(),
		Size:                 len(ticket) + len(encoded),
	}
	if state.EarlyData {
		info.ALPN = field(t, state, "alpnProtocol").String()
	}
	if info.Version >= tls.VersionTLS13 && info.Client {
		info.Expires = time.Unix(int64(field(t, state, "useBy").Uint()), 0)
	}
	if info.Certificates > 0 {
		der := field(t, state, "peerCertificates").Index(0).Elem().FieldByName("Raw").Bytes()
		leaf, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		info.LeafNotAfter = leaf.NotAfter
		if !info.Client {
			sum := sha256.Sum256(der)
			info.ClientLeaf = hex.EncodeToString(sum[:])
		}
	}
	return info
}

// field is an unexported field of a session, for reading.
func field(t testing.TB, state *tls.SessionState, name string) reflect.Value {
	t.Helper()
	v := reflect.ValueOf(state).Elem().FieldByName(name)
	if !v.IsValid() {
		t.Fatalf("tls.SessionState has no field %s: %s", name, whatToDo)
	}
	return v
}

// wire is a session in the notation above errEncoding, written a second time
// so that each field can be set to what crypto/tls would never write.
type wire struct {
	version      uint16
	typ          byte
	cipher       uint16
	created      uint64
	secret       []byte
	extra        []byte
	ems, early   byte
	certificates []byte // certificate_list without its length
	chains       []byte
	alpn         []byte
	tail         []byte // all that follows alpn
}

// newWire is a well-formed TLS 1.3 client session with these certificates.
func newWire(chain ...[]byte) wire {
	w := wire{
		version: tls.VersionTLS13, typ: stateClient, cipher: tls.TLS_AES_256_GCM_SHA384,
		created: 1_800_000_000, secret: []byte("secret"),
		tail: append(binary.BigEndian.AppendUint64(nil, 1_800_007_200), 0, 0, 0, 9),
	}
	for _, der := range chain {
		w.certificates = append(appendVector(w.certificates, 3, der), 0, 0)
	}
	return w
}

func (w wire) bytes() []byte {
	b := append(binary.BigEndian.AppendUint16(nil, w.version), w.typ)
	b = binary.BigEndian.AppendUint16(b, w.cipher)
	b = binary.BigEndian.AppendUint64(b, w.created)
	b = appendVector(b, 1, w.secret)
	b = appendVector(b, 3, w.extra)
	b = append(b, w.ems, w.early)
	b = appendVector(b, 3, w.certificates)
	b = appendVector(b, 3, w.chains)
	if w.early == 1 {
		b = appendVector(b, 1, w.alpn)
	}
	return append(b, w.tail...)
}

// appendVector appends an opaque<..2^(8*size)-1>.
func appendVector(b []byte, size int, opaque []byte) []byte {
	length := binary.BigEndian.AppendUint64(nil, uint64(len(opaque)))
	return append(append(b, length[8-size:]...), opaque...)
}

// sameInfo compares field by field; String would hide most of them.
func sameInfo(t testing.TB, got, want Info) {
	t.Helper()
	// The same instant may come with another *time.Location.
	got.LeafNotAfter, want.LeafNotAfter = got.LeafNotAfter.UTC(), want.LeafNotAfter.UTC()
	type fields Info
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", fields(got), fields(want))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
