package ticket

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzInspect holds that Inspect reads whatever crypto/tls itself reads, field
// by field the same, and that nothing makes the reader panic or claim what is
// not there. The seeds are real sessions of throwaway keys.
func FuzzInspect(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var read Info
		rest, readErr := read.read(bytes.Clone(data))
		claimsNoMore(t, read, rest, data)
		state, err := tls.ParseSessionState(bytes.Clone(data))
		if err != nil {
			return
		}
		require.NoError(t, readErr, "crypto/tls reads it")
		ticket := data[:min(len(data), 40)]
		want := mirror(t, ticket, state)

		got, err := Inspect(ticket, state)

		require.NoError(t, err, "crypto/tls reads it")
		sameInfo(t, got, want)
		// The encoding from outside says the same as the one made anew.
		want.ID, want.Size, want.EarlyData = "", 0, false // not from the bytes
		sameInfo(t, read, want)
	})
}

// claimsNoMore holds what is true of any input, sense or nonsense.
func claimsNoMore(t *testing.T, info Info, rest, data []byte) {
	t.Helper()
	// A certificate has a length of 3 bytes and extensions with one of 2.
	if info.Certificates < 0 || info.Certificates*5 > len(data) {
		t.Fatalf("%d certificates in %d bytes", info.Certificates, len(data))
	}
	if len(data) >= 2 && info.Version != binary.BigEndian.Uint16(data) {
		t.Errorf("version %x, the bytes begin with %x", info.Version, data[:2])
	}
	if !bytes.HasSuffix(data, rest) {
		t.Errorf("rest %x is not the end of %x", rest, data)
	}
	if info.Certificates == 0 && !info.LeafNotAfter.IsZero() {
		t.Errorf("no certificate ends at %v", info.LeafNotAfter)
	}
}

// FuzzNotAfter holds that the walk over a certificate ends where the parser of
// crypto/x509 does. FuzzInspect gets there too seldom: a mutation must leave
// the session and the certificate well-formed.
func FuzzNotAfter(f *testing.F) {
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := notAfter(der)
		parsed, parseErr := x509.ParseCertificate(der)
		if parseErr != nil {
			return // crypto/tls has no such certificate
		}
		require.NoError(t, err)
		if !got.Equal(parsed.NotAfter) {
			t.Errorf("got %v, want %v", got, parsed.NotAfter)
		}
	})
}
