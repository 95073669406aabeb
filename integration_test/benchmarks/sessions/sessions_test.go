package sessions

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
)

func parsed(t *testing.T, s *Source, server int) (string, *x509.Certificate) {
	t.Helper()
	state, err := s.Session(server)
	require.NoError(t, err)
	ticket, session, err := state.ResumptionState()
	require.NoError(t, err)
	encoded, err := session.Bytes()
	require.NoError(t, err)
	again, err := tls.ParseSessionState(encoded)
	require.NoError(t, err)
	require.NotNil(t, again)
	return string(ticket), leafOf(t, encoded)
}

// leafOf finds the first certificate of an encoded session.
func leafOf(t *testing.T, encoded []byte) *x509.Certificate {
	t.Helper()
	for at := range encoded {
		if encoded[at] != 0x30 || at+4 > len(encoded) {
			continue
		}
		length := int(encoded[at+2])<<8 | int(encoded[at+3])
		if encoded[at+1] != 0x82 || at+4+length > len(encoded) {
			continue
		}
		if cert, err := x509.ParseCertificate(encoded[at : at+4+length]); err == nil {
			return cert
		}
	}
	t.Fatal("no certificate")
	return nil
}

func TestSessionsDifferAsServersDo(t *testing.T) {
	for _, own := range []bool{false, true} {
		source, err := NewSource(own)
		require.NoError(t, err)
		tickets, serials := map[string]bool{}, map[string]bool{}
		for server := range 100 {
			ticket, leaf := parsed(t, source, server)
			tickets[ticket], serials[leaf.SerialNumber.String()] = true, true
		}
		require.Len(t, tickets, 100)
		if own {
			require.Len(t, serials, 100)
		} else {
			require.Len(t, serials, 1)
		}
	}
}
