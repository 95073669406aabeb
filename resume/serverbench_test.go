package resume

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
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
