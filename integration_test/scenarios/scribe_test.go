package scenarios_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A scribe is a TLS 1.3 server that writes its records by hand once crypto/tls
// has made the handshake and sent its one ticket. So it sends further tickets,
// of any lifetime, at any time: SSL_new_session_ticket, which crypto/tls does
// not have (rule T2) and no command line of OpenSSL, Node.js or Python offers.
//
// Its tickets are genuine, and the server resumes with them. They differ in
// their bytes alone: all are of one session and one nonce, which RFC 8446,
// Section 4.6.1 forbids and no client can notice from one ticket.
type scribe struct {
	left chan struct{} // closed when the client has ended its side

	raw   net.Conn
	conn  *tls.Conn
	again func() ([]byte, error) // encrypts the session once more
	aead  cipher.AEAD
	iv    []byte
	next  uint64 // number of the next record
}

// A memory is where scribes are found: a server without a network, for a
// synctest bubble.
type memory struct {
	*peer
	server  *tls.Config
	scribes chan *scribe // of each connection, when its handshake is done
}

// newMemory makes a server of a name, with a certificate that ends then.
func newMemory(name string, notAfter time.Time, change ...func(*tls.Config)) *memory {
	now := time.Now()
	ca := tlstest.Must(tlstest.NewCAValid("root", now.Add(-day), now.Add(365*day)))
	m := &memory{peer: newPeer(name), scribes: make(chan *scribe, 100)}
	m.seen, m.ca, m.client.RootCAs = new(tlstest.Identities), ca, ca.Pool()
	leaf := tlstest.Leaf{Names: []string{name}, NotBefore: now.Add(-day), NotAfter: notAfter}
	m.server = &tls.Config{Certificates: []tls.Certificate{tlstest.Must(ca.Issue(leaf))}}
	m.server.SetSessionTicketKeys([][32]byte{{1}}) // the same for every connection
	for _, f := range change {
		f(m.server)
	}
	return m
}

// open makes a connection, whose scribe will be found in m.scribes.
func (m *memory) open(t testing.TB) net.Conn {
	near, far := tlstest.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	s := &scribe{raw: far, left: make(chan struct{})}
	secrets := new(bytes.Buffer)
	config := m.server.Clone()
	config.KeyLogWriter = secrets
	config.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		s.again = func() ([]byte, error) { return m.server.EncryptTicket(cs, state) }
		return s.again()
	}
	s.conn = tls.Server(far, tlstest.Counting(config, m.seen))
	go s.serve(secrets, m.scribes)
	return near
}

// serve makes the handshake and listens from then on, so that the client is
// never kept waiting.
func (s *scribe) serve(secrets *bytes.Buffer, done chan<- *scribe) {
	defer close(s.left)
	if err := s.conn.Handshake(); err != nil {
		s.raw.Close()
		return
	}
	if err := s.takeOver(secrets.String()); err != nil {
		panic(err)
	}
	done <- s
	io.Copy(io.Discard, s.conn)
}

// takeOver learns the key that the server's records are written with (RFC
// 8446, Section 7.3).
func (s *scribe) takeOver(keyLog string) error {
	if s.conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		return errors.New("a scribe needs a processor with AES, for which crypto/tls picks that")
	}
	_, line, _ := strings.Cut(keyLog, "SERVER_TRAFFIC_SECRET_0 ")
	line, _, _ = strings.Cut(line, "\n")
	_, encoded, _ := strings.Cut(line, " ") // after the client's random
	secret, err := hex.DecodeString(encoded)
	if err != nil {
		return err
	}
	key, err := expandLabel(secret, "key", 16)
	if err != nil {
		return err
	}
	if s.iv, err = expandLabel(secret, "iv", 12); err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if s.again != nil {
		s.next = 1 // the ticket of crypto/tls
	}
	s.aead, err = cipher.NewGCM(block)
	return err
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446, Section
// 7.1).
func expandLabel(secret []byte, label string, size int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(append(append(info, byte(len(label))), label...), 0)
	return hkdf.Expand(sha256.New, secret, string(info), size)
}

// The content types of records (RFC 8446, Section 5.1).
const (
	alert           = 21
	handshake       = 22
	applicationData = 23
)

// write sends one record (RFC 8446, Section 5.2).
func (s *scribe) write(t testing.TB, kind byte, content ...byte) {
	t.Helper()
	nonce := bytes.Clone(s.iv)
	tail := nonce[len(nonce)-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^s.next)
	s.next++
	inner := append(content[:len(content):len(content)], kind)
	record := []byte{applicationData, 3, 3}
	record = binary.BigEndian.AppendUint16(record, uint16(len(inner)+s.aead.Overhead()))
	_, err := s.raw.Write(s.aead.Seal(record, nonce, inner, record))
	require.NoError(t, err)
}

func (s *scribe) say(t testing.TB, text string) {
	t.Helper()
	s.write(t, applicationData, []byte(text)...)
}

// ticket sends one more NewSessionTicket (RFC 8446, Section 4.6.1).
func (s *scribe) ticket(t testing.TB, lifetime time.Duration) {
	t.Helper()
	label, err := s.again()
	require.NoError(t, err)
	body := binary.BigEndian.AppendUint32(nil, uint32(lifetime/time.Second))
	body = append(body, 1, 2, 3, 4) // ticket_age_add, which no server of TCP asks for
	body = append(body, 0)          // ticket_nonce, as crypto/tls has it
	body = binary.BigEndian.AppendUint16(body, uint16(len(label)))
	body = append(append(body, label...), 0, 0) // extensions
	const newSessionTicket = 4
	message := binary.BigEndian.AppendUint32(nil, newSessionTicket<<24|uint32(len(body)))
	s.write(t, handshake, append(message, body...)...)
}

// end is close_notify, and the end.
func (s *scribe) end(t testing.TB) {
	t.Helper()
	const warning, closeNotify = 1, 0
	s.write(t, alert, warning, closeNotify)
	s.raw.Close()
}

// A client is what a *tls.Conn and a *resume.Conn have in common.
type client interface {
	net.Conn
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// connect makes a connection in some way, and the handshake. The tickets are
// on their way, and have not been read.
func (m *memory) connect(t testing.TB, wrap func(net.Conn) client) (client, *scribe) {
	t.Helper()
	conn := wrap(m.open(t))
	require.NoError(t, conn.Handshake())
	return conn, <-m.scribes
}

// visit is a connection that reads no ticket, so that what is left in the cache
// can be counted with it. It ends without a Close, which would look for one in
// what has arrived.
func (m *memory) visit(t testing.TB, wrap func(net.Conn) client) (resumed bool) {
	t.Helper()
	raw := m.open(t)
	defer raw.Close()
	conn := wrap(raw)
	require.NoError(t, conn.Handshake())
	<-m.scribes
	return conn.ConnectionState().DidResume
}

// requireLeft holds how many tickets are left, by using them up.
func (m *memory) requireLeft(t testing.TB, wrap func(net.Conn) client, tickets int) {
	t.Helper()
	for i := range tickets {
		require.True(t, m.visit(t, wrap), "ticket %d of %d", i+1, tickets)
	}
	require.False(t, m.visit(t, wrap), "there is none left")
}

// hear reads all that has arrived. Within a bubble the deadline passes at
// once, and only when nothing else can happen.
func hear(t testing.TB, conn net.Conn) string {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
	defer conn.SetReadDeadline(time.Time{})
	var heard strings.Builder
	_, err := io.Copy(&heard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = nil
	}
	require.NoError(t, err)
	return heard.String()
}
