package resume

import (
	"crypto/tls"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

// BenchmarkServerTicket is what a resumed connection costs the cache: one
// session taken, one sent.
func BenchmarkServerTicket(b *testing.B) {
	h := newHouse(b, new(ServerCache), byListener)
	conn := h.dial(new(offer))
	exchange(b, conn)
	cs := conn.ConnectionState()
	cs.ServerName, cs.PeerCertificates = serverName, nil // as the server sees it
	resumed := cs
	resumed.DidResume = true
	v := h.cache.core().view(h.base)
	state := serverState(b, h)
	t := v.wrap(nil, &cs, state)
	b.ReportAllocs()
	for b.Loop() {
		if v.unwrap(nil, t, &cs) == nil {
			b.Fatal("miss")
		}
		t = v.wrap(nil, &resumed, state)
	}
}

// BenchmarkStandardTicket is the same with the standard library's tickets.
func BenchmarkStandardTicket(b *testing.B) {
	h := newHouse(b, new(ServerCache), byListener)
	state := serverState(b, h)
	config := h.base.Clone()
	b.ReportAllocs()
	for b.Loop() {
		t, err := config.EncryptTicket(tls.ConnectionState{}, state)
		require.NoError(b, err)
		if got, _ := config.DecryptTicket(t, tls.ConnectionState{}); got == nil {
			b.Fatal("miss")
		}
	}
}

// serverState is a session as crypto/tls gives it to WrapSession.
func serverState(t testing.TB, h *house) *tls.SessionState {
	var state *tls.SessionState
	config := h.base.Clone()
	config.WrapSession = func(_ tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		state = s
		return []byte("ticket"), nil
	}
	client, server := tlstest.Pipe()
	go answer(tls.Server(server, config))
	asking := h.client.Clone()
	asking.ClientSessionCache = new(offer) // else it wants no ticket
	conn := tls.Client(client, asking)
	defer conn.Close()
	exchange(t, conn)
	return state
}

// What is not asked of the session is what it would have said.
func TestSessionsAreKnownAsInspectKnowsThem(t *testing.T) {
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256} {
		h := newHouse(t, new(ServerCache), byListener)
		state := serverState(t, h)
		encoded := tlstest.Must(state.Bytes())
		binary.BigEndian.PutUint16(encoded[3:], suite)
		if suite == tls.TLS_AES_256_GCM_SHA384 {
			secret := append([]byte{48}, make([]byte, 48)...)
			encoded = slices.Concat(encoded[:13], secret, encoded[14+32:])
		}
		state = tlstest.Must(tls.ParseSessionState(encoded))
		cs := tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: suite}
		label := []byte("some ticket")
		want, err := ticket.Inspect(label, state)
		require.NoError(t, err)
		s := h.cache.core().bare("", cs.Version, live)
		got := s.look(label, state, &cs)
		want.Received, want.ID = got.Received, ""
		want.ExtendedMasterSecret = got.ExtendedMasterSecret // TLS 1.3 has no other
		require.Equal(t, want, got)
	}
}
