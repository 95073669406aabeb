package ticket

import (
	"crypto/tls"
	"crypto/x509"
	"reflect"
	"sync/atomic"
	"time"
)

// Encoding a session to read six numbers of it costs more than all else that a
// cache does with a ticket. Reflection reads the same from the unexported
// fields, without an allocation, but nothing documents those. So the encoding
// stays the authority (docs/decisions/0003): fields of another name or kind
// are not read at all, the first session of every shape is read in both ways,
// and one difference ends the use of this file for the life of the process.

// A fieldMap is where the fields of a tls.SessionState stand.
type fieldMap struct {
	version, client, cipherSuite, created, secret, masterSecret int
	certificates, staple, timestamps, chains, alpn, useBy       int

	raw int // x509.Certificate.Raw
}

// fields is nil when reflection cannot be, or is not to be, trusted.
var fields atomic.Pointer[fieldMap]

func init() { fields.Store(mapFields(reflect.TypeFor[tls.SessionState]())) }

// mapFields finds the fields as of Go 1.26, or returns nil.
func mapFields(state reflect.Type) *fieldMap {
	m, ok := new(fieldMap), true
	find := func(at *int, in reflect.Type, name string, want reflect.Type) {
		f, found := in.FieldByName(name)
		if !found || f.Type != want || len(f.Index) != 1 {
			ok = false
			return
		}
		*at = f.Index[0]
	}
	find(&m.version, state, "version", reflect.TypeFor[uint16]())
	find(&m.client, state, "isClient", reflect.TypeFor[bool]())
	find(&m.cipherSuite, state, "cipherSuite", reflect.TypeFor[uint16]())
	find(&m.created, state, "createdAt", reflect.TypeFor[uint64]())
	find(&m.secret, state, "secret", reflect.TypeFor[[]byte]())
	find(&m.masterSecret, state, "extMasterSecret", reflect.TypeFor[bool]())
	find(&m.certificates, state, "peerCertificates", reflect.TypeFor[[]*x509.Certificate]())
	find(&m.staple, state, "ocspResponse", reflect.TypeFor[[]byte]())
	find(&m.timestamps, state, "scts", reflect.TypeFor[[][]byte]())
	find(&m.chains, state, "verifiedChains", reflect.TypeFor[[][]*x509.Certificate]())
	find(&m.alpn, state, "alpnProtocol", reflect.TypeFor[string]())
	find(&m.useBy, state, "useBy", reflect.TypeFor[uint64]())
	find(&m.raw, reflect.TypeFor[x509.Certificate](), "Raw", reflect.TypeFor[[]byte]())
	if !ok {
		return nil
	}
	return m
}

// read adds to the Info what (*Info).read and the length of the encoding say.
// It reports false for whatever is out of the ordinary, which is left to the
// encoding to judge.
func (m *fieldMap) read(i *Info, state *tls.SessionState) bool {
	v := reflect.ValueOf(state).Elem()
	secret := v.Field(m.secret).Len()
	if secret == 0 || secret >= 1<<8 {
		return false
	}
	i.Version = uint16(v.Field(m.version).Uint())
	i.Client = v.Field(m.client).Bool()
	i.CipherSuite = uint16(v.Field(m.cipherSuite).Uint())
	i.Received = time.Unix(int64(v.Field(m.created).Uint()), 0)
	i.ExtendedMasterSecret = v.Field(m.masterSecret).Bool()
	size := 2 + 1 + 2 + 8 + 1 + secret + 3 + 1 + 1
	if state.EarlyData {
		i.ALPN = v.Field(m.alpn).String()
		if len(i.ALPN) >= 1<<8 {
			return false
		}
		size += 1 + len(i.ALPN)
	}
	switch {
	case i.Version < tls.VersionTLS13:
		size += 2
	case i.Client:
		i.Expires = time.Unix(int64(v.Field(m.useBy).Uint()), 0)
		size += 8 + 4
	}
	certificates, ok := m.readCertificates(i, v)
	i.Size += size + certificates
	return ok
}

// readCertificates counts the certificates, takes the end of the first and
// returns the length of certificate_list and verified_chains.
func (m *fieldMap) readCertificates(i *Info, v reflect.Value) (size int, ok bool) {
	list := v.Field(m.certificates)
	i.Certificates = list.Len()
	size, ok = m.chainSize(list, 0)
	size += 3 + 2*i.Certificates // extensions
	if i.Certificates > 0 && ok {
		var err error
		if i.LeafNotAfter, err = leafEnds.notAfter(m.der(list.Index(0)), m.rawField(list.Index(0)).Pointer()); err != nil {
			return 0, false
		}
		i.nameClient(m.der(list.Index(0)))
		extensions := m.extensionsSize(v)
		size += extensions
		ok = extensions < 1<<16
	}
	chains := v.Field(m.chains)
	size += 3
	for n := 0; ok && n < chains.Len(); n++ {
		var chain int
		chain, ok = m.chainSize(chains.Index(n), 1) // all but the leaf
		size += 3 + chain
		ok = ok && chains.Index(n).Len() > 0
	}
	return size, ok && size < 1<<24
}

// leafEnds remembers when leaf certificates end: crypto/tls has one copy of a
// certificate for all sessions that came with it, and what it costs to read a
// date is a large part of what it costs to read a session.
var leafEnds endMemo

// An endMemo is direct-mapped, so that its size is fixed. It holds on to no
// encoding, which may be part of one with a secret in it (rule T10): one is
// known again by its address, its length and the end of its signature.
type endMemo [64]atomic.Pointer[leafEnd]

type leafEnd struct {
	address  uintptr
	length   int
	tail     [tailSize]byte
	notAfter time.Time
}

const tailSize = 32

// notAfter is that of an encoding that nobody changes any more.
func (m *endMemo) notAfter(der []byte, address uintptr) (time.Time, error) {
	if len(der) < tailSize {
		return notAfter(der)
	}
	tail := [tailSize]byte(der[len(der)-tailSize:])
	slot := &m[int(tail[tailSize-1])%len(m)] // of the signature: as good as random
	if known := slot.Load(); known != nil && known.address == address && known.length == len(der) && known.tail == tail {
		return known.notAfter, nil
	}
	end, err := notAfter(der)
	if err == nil {
		slot.Store(&leafEnd{address, len(der), tail, end})
	}
	return end, err
}

// chainSize is the length of the certificates of a chain, from one on.
func (m *fieldMap) chainSize(chain reflect.Value, from int) (size int, ok bool) {
	for n := from; n < chain.Len(); n++ {
		certificate := chain.Index(n)
		if certificate.IsNil() {
			return 0, false
		}
		size += 3 + len(m.der(certificate))
	}
	return size, true
}

// extensionsSize is the length of what follows the leaf: staple and timestamps
// (RFC 8446, Sections 4.4.2.1 and 4.2).
func (m *fieldMap) extensionsSize(v reflect.Value) (size int) {
	if staple := v.Field(m.staple); !staple.IsNil() {
		size += 2 + 2 + 1 + 3 + staple.Len()
	}
	if timestamps := v.Field(m.timestamps); !timestamps.IsNil() {
		size += 2 + 2 + 2
		for n := range timestamps.Len() {
			size += 2 + timestamps.Index(n).Len()
		}
	}
	return size
}

func (m *fieldMap) der(certificate reflect.Value) []byte { return m.rawField(certificate).Bytes() }

func (m *fieldMap) rawField(certificate reflect.Value) reflect.Value {
	return certificate.Elem().Field(m.raw)
}

// Times returns what Inspect calls Received and Expires, for who knows the
// rest, and that this is a client's session of TLS 1.3, as of any other it
// returns something else; false if Inspect has to be asked.
func Times(state *tls.SessionState) (received, expires time.Time, ok bool) {
	m := fields.Load()
	if m == nil || state == nil || state.EarlyData || len(state.Extra) > 0 || !proven[isClient].Load() {
		return received, expires, false
	}
	v := reflect.ValueOf(state).Elem()
	created, useBy := v.Field(m.created).Uint(), v.Field(m.useBy).Uint()
	return time.Unix(int64(created), 0), time.Unix(int64(useBy), 0), true
}

// Bits of a session's shape.
const (
	isOld = 1 << iota // before TLS 1.3
	isClient
	isEarly // EarlyData
)

// proven has a flag for each shape of session that was once read in both ways
// with the same result.
var proven [8]atomic.Bool

// inspectFields is inspectEncoded by reflection. It reports false, and leaves
// the Info as it was, when the encoding has to be asked.
func inspectFields(info *Info, state *tls.SessionState) bool {
	m, base := fields.Load(), Info{EarlyData: info.EarlyData, Size: info.Size}
	if m == nil || !m.read(info, state) {
		*info = base
		return false
	}
	shape := 0
	if info.Version < tls.VersionTLS13 {
		shape |= isOld
	}
	if info.Client {
		shape |= isClient
	}
	if info.EarlyData {
		shape |= isEarly
	}
	if proven[shape].Load() {
		return true
	}
	if want, err := inspectEncoded(base, state); err != nil || *info != want {
		fields.CompareAndSwap(m, nil)
		*info = base
		return false
	}
	proven[shape].Store(true)
	return true
}
