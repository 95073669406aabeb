package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/ticket"
)

// receipt is when the connection's session came: by our clock, and by what
// crypto/tls wrote into it, in whole seconds.
func receipt(t *testing.T, conn *Conn) (ours, theirs time.Time) {
	t.Helper()
	s := conn.Get0Session()
	require.Equal(t, Resumable, s.Status())
	ticketBytes, state, err := s.s.state.Load().ResumptionState()
	require.NoError(t, err)
	var info ticket.Info
	require.True(t, inspect(&info, ticketBytes, state, 0))
	return s.Info().Received, info.Received
}

// One reading of the clock serves several who ask, and none of them for long.
func TestASessionIsReceivedWhenItComes(t *testing.T) {
	pause := func() { time.Sleep(90 * time.Minute) }
	for why, row := range map[string]struct {
		change []func(server, client *tls.Config)
		cache  *ClientCache
		come   func(*testing.T, *Conn)
	}{
		"long after the handshake": {come: func(t *testing.T, conn *Conn) {
			require.NoError(t, conn.Handshake())
			pause()
			exchange(t, conn)
		}},
		"behind a callback that takes long": {
			change: []func(server, client *tls.Config){func(_, client *tls.Config) {
				client.VerifyConnection = func(tls.ConnectionState) error { pause(); return nil }
			}},
			come: func(t *testing.T, conn *Conn) { exchange(t, conn) },
		},
		"behind such a callback of TLS 1.2": {
			change: []func(server, client *tls.Config){tls12, func(_, client *tls.Config) {
				client.VerifyConnection = func(tls.ConnectionState) error { pause(); return nil }
			}},
			come: func(t *testing.T, conn *Conn) { exchange(t, conn) },
		},
		"long after another, whose reading found nothing more": {come: func(t *testing.T, conn *Conn) {
			exchange(t, conn)
			pause()
			conn.shim.Put(serverName, newPeer(t).states(t, 1)[0])
		}},
		"after NewSession took long over another": {
			cache: &ClientCache{NewSession: func(*Session) { pause() }},
			come: func(t *testing.T, conn *Conn) {
				require.NoError(t, conn.Handshake())
				conn.shim.Put(serverName, newPeer(t).states(t, 1)[0])
				conn.domain.core.onNew = nil
				conn.shim.Put(serverName, newPeer(t).states(t, 1)[0])
			},
		},
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, cache := newPeer(t, row.change...), row.cache
				if cache == nil {
					cache = new(ClientCache)
				}
				conn := cache.NewScope().NewConn(p.serve(), p.client)
				defer conn.Close()
				row.come(t, conn)
				ours, theirs := receipt(t, conn)
				require.True(t, ours.Equal(time.Now()), "%v, not %v", ours, time.Now())
				require.Equal(t, time.Now().Unix(), theirs.Unix())
			})
		})
	}
}

// What a handshake may have waited for is no part of the instant at which
// crypto/tls weighs the session and counts the age of its ticket. Without such,
// it is the instant at which we weighed it.
func TestTimePassesInAHandshakeThatWaited(t *testing.T) {
	for why, row := range map[string]struct {
		cache *ClientCache
		later bool
	}{
		"for nobody":        {cache: new(ClientCache)},
		"for NewSession":    {cache: &ClientCache{NewSession: func(*Session) {}}}, // another handshake's
		"for the store":     {&ClientCache{Store: Seal(newShelf(), newFleet().keys)}, true},
		"for RemoveSession": {&ClientCache{RemoveSession: func(*Session) {}}, true},
		"for Observe":       {&ClientCache{Observe: func(Event) {}}, true},
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, scope := newPeer(t), row.cache.NewScope()
				p.bound(t, scope, true)
				conn := scope.NewConn(p.serve(), p.client)
				defer conn.Close()
				before := time.Now()
				_, ok := conn.shim.Get(serverName)
				require.True(t, ok)
				time.Sleep(time.Hour)
				require.Equal(t, row.later, conn.shim.config.Time().After(before))
			})
		})
	}
}

// A clock of the configuration's own is crypto/tls's, and not ours.
func TestAClockOfTheConfigurationStays(t *testing.T) {
	p, asked := newPeer(t), 0
	past := time.Now().Add(-time.Minute)
	p.client.Time = func() time.Time { asked++; return past }
	conn := p.bound(t, new(ClientCache).NewScope(), true)
	require.Positive(t, asked)
	ours, theirs := receipt(t, conn)
	require.True(t, ours.After(past))
	require.Equal(t, past.Unix(), theirs.Unix())
}
