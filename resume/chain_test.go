package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// longLived gives a server a certificate that outlasts any session.
func longLived(server, client *tls.Config) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	leaf := tlstest.Leaf{Names: []string{serverName}, NotAfter: time.Now().Add(300 * day)}
	server.Certificates = []tls.Certificate{tlstest.Must(ca.Issue(leaf))}
	client.RootCAs = ca.Pool()
}

// The ways in that see no handshake end a chain of resumptions all the same
// (rules N11 and N20), and begin the next with a full handshake.
func TestChainOfAPluggedInCacheIsBounded(t *testing.T) {
	anyVersion := func(_, _ *tls.Config) {}
	for name, row := range map[string]struct {
		version     func(server, client *tls.Config)
		max         time.Duration
		step, bound time.Duration
	}{
		"TLS 1.3":                {anyVersion, 10 * time.Hour, 3 * time.Hour, 10 * time.Hour},
		"TLS 1.3, default":       {anyVersion, 0, 50 * time.Hour, 7 * day},
		"TLS 1.3, for centuries": {anyVersion, 1<<63 - 1, 50 * time.Hour, 300 * day},
		"TLS 1.2":                {tls12, 10 * time.Hour, 3 * time.Hour, 10 * time.Hour},
		"TLS 1.2, default":       {tls12, 0, 7 * time.Hour, day},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := newPeer(t, longLived, row.version), &ClientCache{MaxChainAge: row.max}
				config := p.plugged(c)
				began := time.Now().Add(-row.bound) // of the chain
				for range 10 {
					now := time.Now()
					resumed := p.plain(t, config).DidResume
					require.Equal(t, now.Sub(began) < row.bound, resumed, "%v after the full handshake", now.Sub(began))
					if !resumed {
						began = now
					}
					require.True(t, began.Equal(c.Get0Session(serverName).Info().FullHandshake))
					time.Sleep(row.step)
				}
			})
		})
	}
}

// Whatever way a session came and went, what it brings is of its chain, and of
// no later one.
func TestChainIsThatOfTheSessionHandedOut(t *testing.T) {
	const later = 5 * time.Hour
	for name, second := range map[string]func(t *testing.T, p *peer, scope *Scope, first *Conn) (descent *Session){
		"one way, then the other": func(t *testing.T, p *peer, scope *Scope, first *Conn) *Session {
			exchange(t, first)
			time.Sleep(later)
			require.True(t, p.plain(t, scope.TLSConfig(p.client)).DidResume)
			return scope.Get0Session(serverName)
		},
		"after another chain has begun": func(t *testing.T, p *peer, scope *Scope, first *Conn) *Session {
			time.Sleep(later)
			require.False(t, p.plain(t, scope.TLSConfig(p.client)).DidResume)
			exchange(t, first)
			require.True(t, p.plain(t, scope.TLSConfig(p.client)).DidResume)
			return scope.Get0Session(serverName)
		},
		"by itself": func(t *testing.T, p *peer, scope *Scope, first *Conn) *Session {
			exchange(t, first)
			h := first.Get1Session()
			defer h.Release()
			time.Sleep(later)
			require.True(t, p.plain(t, p.plugged(h.ClientSessionCache())).DidResume)
			return scope.Get0Session(serverName)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, began := newPeer(t), time.Now()
				scope := new(ClientCache).NewScope()
				got := second(t, p, scope, p.bound(t, scope, false))
				require.Equal(t, time.Duration(0), got.Info().FullHandshake.Sub(began))
			})
		})
	}
}

// After Clear nothing is left to continue.
func TestClearForgetsTheChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := newPeer(t), new(ClientCache)
		p.plain(t, p.plugged(c))
		time.Sleep(time.Hour)
		require.NoError(t, c.Clear(t.Context()))
		require.False(t, p.plain(t, p.plugged(c)).DidResume)
		require.True(t, time.Now().Equal(c.Get0Session(serverName).Info().FullHandshake))
	})
}

// A clock that was set back makes no chain longer than one may be.
func TestChainEndsInTimeIfTheClockIsSetBack(t *testing.T) {
	c := new(ClientCache).core()
	key, now := c.plain.key(serverName), time.Now().UnixNano()
	require.Equal(t, now, c.joinChain(key, day, now))
	require.Equal(t, now, c.joinChain(key, day, now+1))
	earlier := now - int64(time.Hour)
	require.Equal(t, earlier, c.joinChain(key, day, earlier))
	require.Equal(t, earlier, c.joinChain(key, day, now), "it is noted")
}

// A miss before the chain's end may meet others of it that are still under way.
func TestMissEndsNoChainBeforeItsTime(t *testing.T) {
	c := new(ClientCache).core()
	key, now := c.plain.key(serverName), time.Now()
	began := c.joinChain(key, day, now.UnixNano())
	c.endChain(key, now.Add(day-1))
	require.Equal(t, began, c.joinChain(key, day, now.UnixNano()+1))
	c.endChain(key, now.Add(day))
	require.Equal(t, now.Add(day).UnixNano(), c.joinChain(key, day, now.Add(day).UnixNano()))
}

// A chain goes on in other processes, each of which knows of it by the record.
func TestChainThroughAStoreIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step, bound := 23*time.Hour, 7*day
		p, f := newPeer(t, longLived), newFleet()
		began := time.Now().Add(-bound)
		for range 10 {
			now, process := time.Now(), f.cache(t)
			resumed := resumes(t, p, process.Scope("tenant"))
			require.NoError(t, process.Close())
			require.Equal(t, now.Sub(began) < bound, resumed, "%v after the full handshake", now.Sub(began))
			if !resumed {
				began = now
			}
			time.Sleep(step)
		}
	})
}
