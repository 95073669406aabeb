package resume

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

// EarlyData is a permission: what QUIC did not ask for it does not get, and TCP
// has none at all.
func TestEarlyDataIsGivenToNoSessionThatHasNone(t *testing.T) {
	for _, way := range serverWays {
		cache := &ServerCache{EarlyData: true}
		var said bool
		cache.NewSession = func(s *Session) { said = said || s.Info().EarlyData }
		h := newHouse(t, cache, way)
		_, next := h.call(nil)
		resumed, _ := h.call(next)
		require.True(t, resumed)
		require.False(t, said)

		cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName}
		v := cache.core().view(h.base)
		got := v.unwrap(nil, v.wrap(nil, &cs, serverState(t, h)), &cs)
		require.NotNil(t, got)
		require.False(t, got.EarlyData)
	}
}
