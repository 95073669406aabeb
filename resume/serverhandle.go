package resume

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"hash"
	"sync"
)

// A handle, the ticket of a stateful session, in the language of RFC 8446,
// Section 3:
//
//	struct {
//	    opaque random[16];
//	    opaque check[16];
//	} Handle;
//
// With mac = HMAC-SHA256(secret, context || random), check is the first half of
// mac and the second half names the session in memory. So a stranger's ticket,
// and one for another context, is known for what it is without a look-up, and
// who reads memory keys cannot make handles of them. The context is the policy
// (serverView.bind), what must match for crypto/tls to resume, and the server
// name.
type handle [32]byte

// A handleKey names a session in memory.
type handleKey [16]byte

const handleRandom = 16 // bytes

// context is what a ticket is tied to besides its key: the policy, the server
// name, which crypto/tls does not look at (rules N5 and N6), and what it looks
// at only after UnwrapSession, when the session is used up. The suite of TLS
// 1.2 is not in it: such a session is not used up.
func (v *serverView) context(cs *tls.ConnectionState) []byte {
	return v.appendContext(make([]byte, 0, len(v.bind)+3+len(cs.ServerName)), cs)
}

// appendContext is context without an allocation of its own.
func (v *serverView) appendContext(b []byte, cs *tls.ConnectionState) []byte {
	b = append(b, v.bind[:]...)
	b = binary.BigEndian.AppendUint16(b, cs.Version)
	if cs.Version >= tls.VersionTLS13 && cs.CipherSuite == tls.TLS_AES_256_GCM_SHA384 {
		b = append(b, 1) // the one suite of that hash (rules N9, T20)
	} else {
		b = append(b, 0)
	}
	// The last part: its length goes without saying.
	return append(b, cs.ServerName...)
}

// macs are HMACs keyed with a secret, to be used one after the other: keying
// one costs as much as using it.
type macs struct{ idle sync.Pool }

// A mac is an HMAC with room for what goes in and comes out.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// newMACs draws a secret that lives as long as the process: what it makes names
// of is in memory.
func newMACs() *macs {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) // never fails, see its documentation
	return &macs{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }}}
}

// of is the mac over context and random, in its halves.
func (m *macs) of(v *serverView, cs *tls.ConnectionState, random []byte) (check [16]byte, key handleKey) {
	h := m.idle.Get().(*mac)
	defer m.idle.Put(h)
	h.in = append(v.appendContext(h.in[:0], cs), random...)
	return h.sum(h.in)
}

// sum is the mac over anything, in its halves.
func (m *macs) sum(of []byte) ([16]byte, handleKey) {
	h := m.idle.Get().(*mac)
	defer m.idle.Put(h)
	return h.sum(of)
}

// sum may be called again: Reset goes back to the state after the key.
func (h *mac) sum(of []byte) ([16]byte, handleKey) {
	h.Reset()
	h.Write(of)
	h.Sum(h.out[:0])
	return [16]byte(h.out[:16]), handleKey(h.out[16:])
}

// fill makes a handle for a session in memory. That of a TLS 1.2 session comes
// from its secret, so that the session has one handle, however often crypto/tls
// sends a ticket for it.
func (v *serverView) fill(t *handle, cs *tls.ConnectionState, state *tls.SessionState) handleKey {
	if cs.Version >= tls.VersionTLS13 {
		rand.Read(t[:handleRandom])
	} else {
		secret := secretOf(state)
		defer clear(secret)
		name, _ := v.core.names.sum(secret)
		copy(t[:handleRandom], name[:])
	}
	check, key := v.core.macs.of(v, cs, t[:handleRandom])
	copy(t[handleRandom:], check[:])
	return key
}

// keyOf is the name of the session of a handle made by this cache in this
// context. The check is compared in constant time: it is a MAC that strangers
// may try to guess.
func (v *serverView) keyOf(cs *tls.ConnectionState, identity []byte) (handleKey, bool) {
	check, key := v.core.macs.of(v, cs, identity[:handleRandom])
	return key, hmac.Equal(check[:], identity[handleRandom:])
}

// secretOf is the secret of a session, as its encoding has it (rule T9); nil if
// that is unknown. The caller wipes it.
func secretOf(state *tls.SessionState) []byte {
	bare := *state
	bare.Extra = nil // may be too long to encode
	encoded, err := bare.Bytes()
	const at = 2 + 1 + 2 + 8 // version, type, cipher suite, time
	if err != nil || len(encoded) <= at || len(encoded) < at+1+int(encoded[at]) {
		return nil
	}
	defer clear(encoded)
	return bytes.Clone(encoded[at+1 : at+1+int(encoded[at])])
}

// deadHandle looks like a handle and names nothing: a client that presents it
// makes a full handshake. To send none is not possible: WrapSession's error
// would end the connection, and a ticket has at least one byte (RFC 8446,
// Section 4.6.1).
func deadHandle() []byte {
	t := new(handle)
	rand.Read(t[:])
	return t[:]
}
