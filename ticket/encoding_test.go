package ticket

import (
	"crypto/tls"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// whatToDo is for whoever meets a failure here after a Go upgrade: no other
// test is worth reading first.
const whatToDo = `
    This Go release has changed tls.SessionState, which package ticket reads.
    Compare the comment above the type in crypto/tls/ticket.go with the one in
    inspect.go. If fields were only added at the end, sessions are still read
    correctly: adapt the lists in encoding_test.go and decide whether Info
    should show the new field. Otherwise adapt (*Info).read, or Inspect fails
    for every session.`

// The fields as of Go 1.26. Most are read by name in the tests; one that is
// new would be encoded where read does not look.
var knownFields = []string{
	"Extra", "EarlyData",
	"version", "isClient", "cipherSuite", "createdAt", "secret", "extMasterSecret",
	"peerCertificates", "ocspResponse", "scts", "verifiedChains", "alpnProtocol",
	"useBy", "ageAdd", "ticket",
	"curveID",
}

func TestEncodingIsTheOneWeRead(t *testing.T) {
	t.Run("fields", func(t *testing.T) {
		var fields []string
		for f := range reflect.TypeFor[tls.SessionState]().Fields() {
			fields = append(fields, f.Name)
		}
		known := slices.Sorted(slices.Values(knownFields))
		slices.Sort(fields)
		if !slices.Equal(fields, known) {
			t.Errorf("\nfields %v\n known %v%s", fields, known, whatToDo)
		}
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, early := range []bool{false, true} {
			name := tls.VersionName(version)
			if early {
				name += " with early data"
			}
			t.Run(name, func(t *testing.T) {
				s := newSession(t, version)
				s.state.EarlyData = early
				readsAll(t, s.ticket, s.state)
			})
		}
		t.Run(tls.VersionName(version)+" of a server", func(t *testing.T) {
			id := newIdentity(t, ecdsaKey(), 1)
			_, s := connect(t,
				&tls.Config{RootCAs: id.roots, ServerName: serverName, MaxVersion: version},
				&tls.Config{Certificates: id.certificates()})
			readsAll(t, s.ticket, s.state)
		})
	}
}

// readsAll holds that read understands the whole encoding, to its last byte.
func readsAll(t *testing.T, ticket []byte, state *tls.SessionState) {
	t.Helper()
	encoded, err := state.Bytes()
	require.NoError(t, err)
	want := mirror(t, ticket, state)
	got := Info{ID: want.ID, EarlyData: want.EarlyData, Size: want.Size} // from elsewhere
	rest, err := got.read(encoded)
	if err != nil {
		t.Fatalf("%v%s", err, whatToDo)
	}
	if len(rest) > 0 {
		t.Errorf("%d unknown bytes at the end: %x%s", len(rest), rest, whatToDo)
	}
	sameInfo(t, got, want)
	if t.Failed() {
		t.Log(whatToDo)
	}
}
