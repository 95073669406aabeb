package integration_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A ledgered store counts what is taken from it.
type ledgered struct {
	cache.Store
	takes atomic.Int32
}

func (l *ledgered) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	l.takes.Add(1)
	return l.Store.Take(ctx, key, max)
}

// crypto/tls asks for the first five identities of a ClientHello. Strangers'
// cost the store nothing, and of our own one is looked up.
func TestAClientHelloWithFiveTicketsCostsOneLookUp(t *testing.T) {
	store := &ledgered{}
	kind := innKind{"store", true, func(t testing.TB, c *resume.ServerCache) {
		store.Store = openDir(t, t.TempDir())
		c.Store = resume.Seal(store, newRing(t))
	}}
	n := newInn(t, kind)
	var spent [][]byte
	var held *tls.ClientSessionState
	for range 4 {
		keep := &offering{offer: held}
		n.get(t, keep)
		held = keep.last()
		spent = append(spent, label(t, held))
	}
	n.settled(t)
	good := spent[3] // the others have been used
	stranger := append([]byte(nil), good...)
	stranger[0] ^= 1
	before := store.takes.Load()
	n.forget()

	hello := n.helloWith(t, held, [][]byte{stranger, spent[0], spent[1], spent[2], good, stranger})
	raw, err := net.Dial("tcp", n.Addr)
	require.NoError(t, err)
	defer raw.Close()
	_, err = raw.Write(hello)
	require.NoError(t, err)
	answer := make([]byte, 6)
	_, err = io.ReadFull(raw, answer)
	require.NoError(t, err)
	require.Equal(t, []byte{22, 2}, []byte{answer[0], answer[5]}, "a ServerHello")

	n.settled(t)
	require.EqualValues(t, 1, store.takes.Load()-before)
	require.Equal(t, []string{"stranger", "gone", "one-only", "one-only", "one-only"}, n.reasons(resume.SessionMissing))
	keep := &offering{offer: held}
	require.True(t, n.get(t, keep), "the good one was not used up")
}

// get makes a request over a connection of its own.
func (n *inn) get(t testing.TB, sessions tls.ClientSessionCache) (resumed bool) {
	t.Helper()
	config := n.client.Clone()
	config.ClientSessionCache = sessions
	conn, err := tls.Dial("tcp", n.Addr, config)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(request))
	require.NoError(t, err)
	_, err = io.ReadAll(conn)
	require.NoError(t, err)
	return conn.ConnectionState().DidResume
}

func (n *inn) reasons(kind resume.EventKind) (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.Kind == kind {
			all = append(all, e.Reason)
		}
	}
	return all
}

// label is the ticket of a session.
func label(t testing.TB, cs *tls.ClientSessionState) []byte {
	t.Helper()
	ticket, _, err := cs.ResumptionState()
	require.NoError(t, err)
	return ticket
}

// helloWith is a ClientHello that offers these tickets, as a record. It is what
// crypto/tls would send for the session held, with other identities (RFC 8446,
// Section 4.2.11) and binders of zeroes.
func (n *inn) helloWith(t testing.TB, held *tls.ClientSessionState, tickets [][]byte) []byte {
	t.Helper()
	client, server := tlstest.Pipe()
	config := n.client.Clone()
	config.ClientSessionCache = &offering{offer: held}
	conn := tls.Client(client, config)
	go conn.Handshake()
	defer client.Close()
	defer server.Close()
	header := make([]byte, 5)
	_, err := io.ReadFull(server, header)
	require.NoError(t, err)
	message := make([]byte, binary.BigEndian.Uint16(header[3:]))
	_, err = io.ReadFull(server, message)
	require.NoError(t, err)

	at := extensionsOf(message)
	head, extensions := message[:at], message[at+2:]
	for rest := extensions; ; {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if kind == 41 { // pre_shared_key, always the last
			extensions = extensions[:len(extensions)-len(rest)]
			break
		}
		rest = rest[4+size:]
	}
	var identities, binders []byte
	for _, ticket := range tickets {
		identities = append(vector16(identities, ticket), 0, 0, 0, 0) // obfuscated age
		binders = append(append(binders, 32), make([]byte, 32)...)
	}
	psk := vector16(vector16(nil, identities), binders)
	extensions = vector16(binary.BigEndian.AppendUint16(extensions[:len(extensions):len(extensions)], 41), psk)
	message = vector16(append([]byte(nil), head...), extensions)
	message[1], message[2], message[3] = 0, byte((len(message)-4)>>8), byte(len(message)-4)
	return vector16([]byte{22, 3, 1}, message)
}

// extensionsOf is where the extensions of a ClientHello begin, with their
// length.
func extensionsOf(message []byte) int {
	at := 4 + 2 + 32                                     // header, version, random
	at += 1 + int(message[at])                           // session id
	at += 2 + int(binary.BigEndian.Uint16(message[at:])) // suites
	return at + 1 + int(message[at])                     // compression methods
}

// vector16 appends an opaque<0..2^16-1>.
func vector16(b, opaque []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(opaque))), opaque...)
}
