package resume

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"hash"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// A configPrint stands for what can be seen and hashed of a configuration: 128
// bits of a hash, which two do not share by chance. The zero print stands for
// "not known": a cache that was plugged in directly.
type configPrint [16]byte

// A view is what a way in knows of the configuration its sessions belong to.
// The zero view knows nothing. A view does not change but for its shims, and is
// shared by all connections with that configuration.
type view struct {
	config         *tls.Config // the configuration; nil for the zero view
	space          unique.Handle[space]
	clientNotAfter time.Time        // the earliest end of the client's certificates
	time           func() time.Time // Config.Time
	ech            bool             // Encrypted Client Hello: tickets are not seen on the wire
	shims          sync.Pool        // of *shim, for connections to come
}

// clock reads the configuration's clock; zero means that it is the same as
// ours. It calls the user's code: no lock may be held.
func (v *view) clock() time.Time {
	if v.time == nil {
		return time.Time{}
	}
	return v.time()
}

// newView hashes what has an identity: bytes, numbers, and whether a function
// is there. Pools of roots and what functions do have none.
//
// Lengths come before bytes, or two chains could read as one. The order of the
// flags is a part of stored keys (see SealedStore): one more goes to the end.
func newView(d *domain, config *tls.Config) *view {
	h := sha256.New()
	v := &view{config: config, time: config.Time, ech: len(config.EncryptedClientHelloConfigList) > 0}
	for i := range config.Certificates {
		cert := &config.Certificates[i]
		writeNumber(h, uint64(len(cert.Certificate)))
		for _, der := range cert.Certificate {
			writeNumber(h, uint64(len(der)))
			h.Write(der)
		}
		// Which of them the server will ask for is not known: the first to end
		// ends the sessions.
		if end := notAfter(cert); !end.IsZero() && (v.clientNotAfter.IsZero() || end.Before(v.clientNotAfter)) {
			v.clientNotAfter = end
		}
	}
	writeNumber(h, uint64(config.MinVersion)<<16|uint64(config.MaxVersion))
	var flags uint64
	for i, set := range []bool{
		config.InsecureSkipVerify,
		v.ech,
		config.GetClientCertificate != nil,
		config.VerifyPeerCertificate != nil,
		config.VerifyConnection != nil,
		config.EncryptedClientHelloRejectionVerify != nil,
	} {
		if set {
			flags |= 1 << i
		}
	}
	writeNumber(h, flags)
	v.space = unique.Make(space{d, configPrint(h.Sum(nil)[:len(configPrint{})])})
	return v
}

// writeNumber takes eight bytes for each, so that no two sequences are alike.
func writeNumber(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

// notAfter is the end of a client certificate, zero if it cannot be read. Leaf
// is set by who loads certificates with the standard library, and saves parsing
// them.
func notAfter(cert *tls.Certificate) time.Time {
	if cert.Leaf != nil {
		return cert.Leaf.NotAfter
	}
	if len(cert.Certificate) == 0 {
		return time.Time{}
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return time.Time{}
	}
	return leaf.NotAfter
}

// zeroConfig stands for a nil configuration. It is one variable, as a view goes
// by the address.
var zeroConfig tls.Config

// A viewMemo remembers views by the address of their configuration. It holds
// on to the configurations, so that an address stands for one as long as it is
// remembered; when maxConfigs are known it starts over.
type viewMemo struct {
	last  atomic.Pointer[view] // the last one asked for, mostly the only one
	mu    sync.RWMutex         // guards views
	views map[*tls.Config]*view
}

// view is what can be seen of a configuration, which must not change after it
// was first used here, as crypto/tls demands, too.
func (d *domain) view(config *tls.Config) *view {
	if config == nil {
		config = &zeroConfig
	}
	m := &d.views
	if v := m.last.Load(); v != nil && v.config == config {
		return v
	}
	v := m.remembered(d, config)
	m.last.Store(v)
	return v
}

// remembered finds a view or makes it, outside the lock, as hashing and parsing
// take long: two who come at once may make two, which are alike but for the
// shims. The later one stays.
func (m *viewMemo) remembered(d *domain, config *tls.Config) *view {
	m.mu.RLock()
	v := m.views[config]
	m.mu.RUnlock()
	if v != nil {
		return v
	}
	v = newView(d, config)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.views == nil || len(m.views) >= maxConfigs {
		m.views = make(map[*tls.Config]*view)
	}
	m.views[config] = v
	return v
}
