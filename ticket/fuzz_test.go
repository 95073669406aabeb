package ticket

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"os"
	"path/filepath"
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

// FuzzRecord holds that any bytes are an error or a record that can be written
// and read again, the same.
func FuzzRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		checkRecord(t, data)
		if !bytes.Equal(before, data) {
			t.Error("the input was changed")
		}
	})
}

// FuzzRecordOfState holds that a record keeps every state that crypto/tls
// reads, and that the compact form of whatever looks like a state stands for
// exactly the same bytes.
func FuzzRecordOfState(f *testing.F) {
	f.Fuzz(func(t *testing.T, encoded []byte) {
		if c, ok := compactState(encoded); ok {
			var w writer
			w.compact(c)
			r := reader{b: w.b}
			back, err := r.compact()
			require.NoError(t, err)
			require.Equal(t, encoded, back)
		}
		state, err := tls.ParseSessionState(bytes.Clone(encoded))
		if err != nil {
			return
		}
		if _, err := state.Bytes(); err != nil {
			return // it read what it does not write
		}
		b, err := (&Record{Ticket: []byte("ticket"), State: state}).MarshalBinary()
		require.NoError(t, err)
		require.True(t, checkRecord(t, b))
		var r Record
		require.NoError(t, r.UnmarshalBinary(b))
		require.Equal(t, must(state.Bytes()), must(r.State.Bytes()))
	})
}

// FuzzOpen holds that nothing opens but what was sealed, that only ErrOpen
// comes of the rest, and that any bytes can be sealed and come back.
func FuzzOpen(f *testing.F) {
	f.Fuzz(func(t *testing.T, sealed []byte) {
		k, before := ringOf(t, 1, 2), bytes.Clone(sealed)
		plain, err := k.Open("key", "id", expiry, sealed)
		require.Equal(t, before, sealed)
		golden := must(os.ReadFile(filepath.Join("testdata", "keyring", "sealed-1")))
		if bytes.Equal(sealed, golden) {
			require.NoError(t, err)
			return
		}
		requireErrOpen(t, plain, err) // or the fuzzer has forged a tag
		require.True(t, opens(t, k, must(k.Seal("key", "id", expiry, sealed)), string(sealed)))
	})
}
