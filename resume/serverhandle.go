package resume

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
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

// context is what a ticket is tied to besides its key.
func (v *serverView) context(cs *tls.ConnectionState) []byte {
	b := make([]byte, 0, len(v.bind)+4+len(cs.ServerName)+handleRandom)
	b = append(b, v.bind...)
	b = binary.BigEndian.AppendUint16(b, cs.Version)
	if cs.Version >= tls.VersionTLS13 && cs.CipherSuite == tls.TLS_AES_256_GCM_SHA384 {
		b = append(b, 1) // the one suite of that hash (rules N9, T20)
	} else {
		b = append(b, 0)
	}
	// The last part: its length goes without saying.
	return append(b, cs.ServerName...)
}

// mac is over context and random.
func (c *serverCore) mac(context, random []byte) (check [16]byte, key handleKey) {
	h := hmac.New(sha256.New, c.secret[:])
	h.Write(context)
	h.Write(random)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return [16]byte(sum[:16]), handleKey(sum[16:])
}

// newHandle makes a handle for a session in memory.
func (c *serverCore) newHandle(context []byte) (*handle, handleKey) {
	t := new(handle)
	rand.Read(t[:handleRandom]) // never fails, see its documentation
	check, key := c.mac(context, t[:handleRandom])
	copy(t[handleRandom:], check[:])
	return t, key
}

// keyOf is the name of the session of a handle made by this cache in this
// context.
func (c *serverCore) keyOf(context, identity []byte) (handleKey, bool) {
	check, key := c.mac(context, identity[:handleRandom])
	return key, hmac.Equal(check[:], identity[handleRandom:])
}

// deadHandle looks like a handle and names nothing.
func deadHandle() []byte {
	t := new(handle)
	rand.Read(t[:])
	return t[:]
}
