package integration_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A HelloRetryRequest makes the client send its ticket a second time. That is
// one connection still, and one use.
func TestHelloRetryRequestResumesWithOneTicket(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			// Go's clients send no key share of this curve at first.
			s := newSite(t, setup{server: onlyP256})
			proxy, err := tlstest.NewProxy(s.Addr, 8)
			require.NoError(t, err)
			t.Cleanup(proxy.Close)
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.client)

			const turns = 4
			for turn := range turns {
				conn := e.connect(t, proxy.Addr)
				require.NoError(t, talk(conn))
				state := conn.ConnectionState()
				require.True(t, state.HelloRetryRequest)
				require.Equal(t, turn > 0, state.DidResume)
				require.NoError(t, conn.Close())
			}
			e.crowd(t, proxy.Addr, 8)

			onWire := requireNoReuse(t, proxy.Identities)
			assert.Equal(t, requireNoReuse(t, s.Identities), onWire)
			assert.EqualValues(t, onWire.Offered, c.Stats().Used)
			assert.EqualValues(t, onWire.Connections, c.Stats().Captured)
		})
	}
}

func TestOpenSSLsHelloRetryRequestResumesToo(t *testing.T) {
	server := newOpenSSL(t, "-groups", "P-384")
	proxy := server.proxy(t, 1)
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), server.client)
	for turn := range 4 {
		conn := e.connect(t, proxy.Addr)
		require.NoError(t, talk(conn))
		require.True(t, conn.ConnectionState().HelloRetryRequest)
		require.Equal(t, turn > 0, conn.ConnectionState().DidResume)
		require.NoError(t, conn.Close())
	}
	assert.Equal(t, 3, requireNoReuse(t, proxy.Identities).Offered)
}

// A restart with new ticket keys makes every ticket worthless. Each is refused
// at most once, costs a full handshake, and no more than that.
func TestARestartedServerIsResumedWithAgain(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.with(onlyP256))
			const crowd = 8
			e.crowd(t, s.Addr, crowd)
			stale := int(c.Stats().Kept)
			open := e.connect(t, s.Addr) // dies with the server

			s.restart(t, newKeys)
			require.Error(t, talk(open))

			e.full(t, s.Addr)
			for range 3 {
				e.resumed(t, s.Addr)
			}
			// Parallel connections get down to the stale ones.
			before := s.Identities.Counts()
			resumed := 0
			for range stale {
				resumed += e.crowd(t, s.Addr, crowd)
			}
			counts := requireNoReuse(t, s.Identities)
			offered := counts.Offered - before.Offered
			assert.LessOrEqual(t, offered-resumed, stale, "each stale ticket was tried once")
			assert.GreaterOrEqual(t, resumed, crowd*stale-crowd-stale)
		})
	}
}

// The same keys, as in a cluster or with a key file: nothing is lost.
func TestARestartWithTheSameKeysLosesNoTicket(t *testing.T) {
	s := newSite(t, setup{server: newKeys})
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), s.client)
	e.full(t, s.Addr)
	for range 3 {
		s.restart(t)
		e.resumed(t, s.Addr)
	}
	requireNoReuse(t, s.Identities)
}

// A server that comes back with another version refuses what it gave before.
// TLS 1.3 is preferred again as soon as it is back.
func TestAServerThatChangesItsVersionIsServed(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{server: newKeys})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)

			s.restart(t, onlyTLS12)
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)

			s.restart(t, func(c *tls.Config) { c.MaxVersion = 0 })
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)
		})
	}
}
