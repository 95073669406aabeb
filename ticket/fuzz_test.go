package ticket

import (
	"crypto/tls"
	"testing"
)

// FuzzInspect holds that Inspect reads whatever crypto/tls itself reads, and
// that nothing makes the reader panic or find certificates that are not there.
func FuzzInspect(f *testing.F) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		encoded := must(newSession(f, version).state.Bytes())
		f.Add(encoded)
		f.Add(encoded[:len(encoded)/2])
		f.Add(append(encoded, "field of a later release"...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var info Info
		_, err := info.read(data)
		if info.Certificates*5 > len(data) {
			t.Fatalf("%d certificates in %d bytes", info.Certificates, len(data))
		}
		state, parseErr := tls.ParseSessionState(data)
		if parseErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("crypto/tls reads what we do not: %v", err)
		}
		got, err := Inspect([]byte("ticket"), state)
		noError(t, err)
		sameInfo(t, got, mirror(t, []byte("ticket"), state))
	})
}
