package resume

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

func TestStatelessTicketsResumeAgainAndAgain(t *testing.T) {
	eachServerWay(t, func(t *testing.T, way serverWay, version func(server, client *tls.Config)) {
		keys := newFleet().keys
		h := newHouse(t, &ServerCache{Keyring: keys}, way, version)
		other := h.sibling(&ServerCache{Keyring: keys}, way)
		_, first := h.call(nil)
		label := ticketOf(t, first)
		for range 3 {
			for _, server := range []*house{h, other} {
				resumed, next := server.call(retold(t, first, label))
				require.True(t, resumed)
				require.NotEqual(t, label, ticketOf(t, next))
			}
		}
		st := checkServerStats(t, h.cache)
		require.EqualValues(t, 4, st.Kept, "nothing ends them")
		require.Zero(t, st.Pooled)
		stranger := h.sibling(&ServerCache{Keyring: tlstest.Must(ticket.NewKeyring([32]byte{9}))}, way)
		resumed, _ := stranger.call(retold(t, first, label))
		require.False(t, resumed)
		require.EqualValues(t, 1, stranger.cache.Stats().Refused)
	})
}

func TestStatelessTicketsHoldInTheirContextAndUnchanged(t *testing.T) {
	keys := newFleet().keys
	h := newHouse(t, &ServerCache{Keyring: keys, Scope: "front"}, byListener)
	_, first := h.call(nil)
	label := ticketOf(t, first)
	refused := func(why string, h *house, ticket []byte, change ...func(*tls.Config)) {
		resumed, _ := h.call(retold(t, first, ticket), change...)
		require.False(t, resumed, why)
	}
	for at := range label { // its expiry, too
		changed := bytes.Clone(label)
		changed[at] ^= 1
		require.False(t, h.unwraps(nil, changed, tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_128_GCM_SHA256}))
	}
	for n := range label {
		require.False(t, h.unwraps(nil, label[:n], tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName}))
	}
	refused("other server name", h, label, func(c *tls.Config) { c.ServerName = "other.test" })
	refused("other scope", h.sibling(&ServerCache{Keyring: keys, Scope: "back"}, byListener), label)
	refused("certificates wanted", h.sibling(&ServerCache{Keyring: keys, Scope: "front"}, byListener, func(server, _ *tls.Config) {
		server.ClientAuth = tls.RequestClientCert
	}), label)
	resumed, _ := h.call(first)
	require.True(t, resumed)
}

func TestStatelessKeysRotateWhileServing(t *testing.T) {
	keys := newFleet().keys
	h := newHouse(t, &ServerCache{Keyring: keys}, byListener)
	_, old := h.call(nil)
	require.NoError(t, keys.Set([32]byte{2}, [32]byte{1}))
	resumed, renewed := h.call(old)
	require.True(t, resumed, "all open")
	require.NoError(t, keys.Set([32]byte{2}))
	resumed, _ = h.call(old)
	require.False(t, resumed)
	resumed, _ = h.call(renewed)
	require.True(t, resumed, "the first seals")
}

func TestStatelessTicketsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		keys := newFleet().keys
		h := newHouse(t, &ServerCache{Keyring: keys, Lifetime: time.Hour, Observe: d.note}, byListener, endless)
		_, first := h.call(nil)
		time.Sleep(time.Hour - time.Second)
		resumed, _ := h.call(first)
		require.True(t, resumed)
		shorter := h.sibling(&ServerCache{Keyring: keys, Lifetime: time.Minute, Observe: d.note}, byListener)
		resumed, _ = shorter.call(first)
		require.False(t, resumed, "each server's own limit holds")
		time.Sleep(time.Second)
		resumed, _ = h.call(first)
		require.False(t, resumed)
		require.Equal(t, []string{"lifetime", "lifetime"}, d.reasons(SessionMissing))
	})
}

func TestAStatelessChainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, &ServerCache{Keyring: newFleet().keys, Lifetime: 7 * day}, byListener, endless)
		_, at := h.call(nil)
		for turn := range 7 {
			info := h.cache.Get0Session(h.accepted()).Info()
			require.Equal(t, turn, info.Resumptions)
			if turn == 6 {
				break
			}
			time.Sleep(day)
			var resumed bool
			resumed, at = h.call(at)
			require.True(t, resumed)
		}
		time.Sleep(day)
		resumed, _ := h.call(at)
		require.False(t, resumed)
	})
}

func TestStatelessSessionsCannotBeRevoked(t *testing.T) {
	h := newHouse(t, &ServerCache{Keyring: newFleet().keys}, byListener)
	_, first := h.call(nil)
	s := h.cache.Get1Session(h.accepted())
	require.Equal(t, idOf(t, first), s.Info().ID)
	require.False(t, h.cache.Remove(s))
	require.Equal(t, Resumable, s.Status())
	s.Release()
	resumed, _ := h.call(first)
	require.True(t, resumed)
	require.NoError(t, h.cache.Close())
	resumed, _ = h.call(first)
	require.False(t, resumed, "a closed cache opens nothing")
}

func TestOtherLayersExtrasAreKept(t *testing.T) {
	for name, cache := range map[string]*ServerCache{
		"memory": new(ServerCache),
		"store":  {Store: Seal(newShelf(), newFleet().keys)},
		"sealed": {Keyring: newFleet().keys},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, cache, byListener)
				state := serverState(t, h)
				state.Extra = [][]byte{[]byte("quic"), []byte("other")}
				cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName}
				v := cache.core().view(h.base)
				label := v.wrap(nil, &cs, state)
				require.Equal(t, [][]byte{[]byte("quic"), []byte("other")}, state.Extra)
				got := v.unwrap(nil, label, &cs)
				require.NotNil(t, got)
				require.Equal(t, [][]byte{[]byte("quic"), []byte("other")}, got.Extra)
			})
		})
	}
}

func TestEarlyDataIsNotAcceptedUnlessAskedFor(t *testing.T) {
	for _, cache := range []*ServerCache{{}, {EarlyData: true}} {
		var said bool
		cache.NewSession = func(s *Session) { said = s.Info().EarlyData }
		h := newHouse(t, cache, byListener)
		cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName}
		v := cache.core().view(h.base)
		state := serverState(t, h)
		state.EarlyData = true
		got := v.unwrap(nil, v.wrap(nil, &cs, state), &cs)
		require.NotNil(t, got)
		require.Equal(t, cache.EarlyData, got.EarlyData)
		require.Equal(t, cache.EarlyData, said)
	}
}

// A stateless session that comes back is the one that was sent: by its ID, its
// size and the references that hold it.
func TestAStatelessSessionIsKnownByItsTicket(t *testing.T) {
	h := newHouse(t, &ServerCache{Keyring: newFleet().keys}, byListener)
	c := h.cache.core()
	v := c.view(h.base)
	cs := tls.ConnectionState{Version: tls.VersionTLS13, ServerName: serverName, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	link := &serverLink{core: c}
	link.wire = serverWire{Conn: deadConn{Conn: new(net.TCPConn)}, link: link}
	label := v.wrap(link, &cs, serverState(t, h))
	sent := link.session()
	require.Equal(t, ticket.ID(label), sent.id)
	require.EqualValues(t, 1, sent.refs.Load(), "the connection's")

	back, _, missing := v.find(nil, label, &cs, time.Now())
	require.Empty(t, missing)
	require.Equal(t, sent.id, back.id)
	require.Equal(t, sent.info().Size, back.info().Size)
	require.EqualValues(t, 1, back.refs.Load(), "ours")
}
