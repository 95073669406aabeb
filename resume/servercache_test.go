package resume

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

// eachServerWay runs a test for both versions and ways, in a bubble: what a
// busy machine does to it takes no time.
func eachServerWay(t *testing.T, test func(t *testing.T, way serverWay, version func(server, client *tls.Config))) {
	for _, way := range serverWays {
		for name, version := range versions {
			t.Run(way.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test(t, way, version) })
			})
		}
	}
}

var versions = map[string]func(server, client *tls.Config){"TLS 1.3": func(_, _ *tls.Config) {}, "TLS 1.2": tls12}

// inBothWays is the same with TLS 1.3 only.
func inBothWays(t *testing.T, test func(t *testing.T, way serverWay)) {
	for _, way := range serverWays {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, way) })
		})
	}
}

func TestServerResumesEachTicketOnceAndSendsANewOne(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		h := newHouse(t, new(ServerCache), way)
		resumed, first := h.call(nil)
		require.False(t, resumed)
		at := first
		for range 3 {
			resumed, next := h.call(at)
			require.True(t, resumed)
			require.NotEqual(t, ticketOf(t, at), ticketOf(t, next))
			resumed, other := h.call(at)
			require.False(t, resumed, "a second time")
			require.NotNil(t, other)
			at = next
		}
		st := checkServerStats(t, h.cache)
		assert.EqualValues(t, 7, st.Captured)
		assert.EqualValues(t, 3, st.Used)
		assert.EqualValues(t, 4, st.Kept)
		assert.EqualValues(t, 4, st.Full)
		assert.EqualValues(t, 3, st.Resumed)
		assert.EqualValues(t, 3, st.Missed)
		assert.Zero(t, st.Refused)
		assert.Equal(t, 4, st.Pooled)
	})
}

// OpenSSL tells a client's callback nothing of the ticket of a resumed TLS 1.2
// connection, so many clients present the first one again.
func TestATLS12SessionIsResumedAgainUnderOneTicket(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		var d diary
		h := newHouse(t, &ServerCache{Observe: d.note}, way, tls12)
		_, first := h.call(nil)
		label := ticketOf(t, first)
		for range 3 {
			resumed, next := h.call(retold(t, first, label))
			require.True(t, resumed)
			require.Equal(t, label, ticketOf(t, next), "it is the same session")
		}
		st := checkServerStats(t, h.cache)
		require.EqualValues(t, 1, st.Captured)
		require.EqualValues(t, 3, st.Shared)
		require.EqualValues(t, 1, st.Kept)
		require.Equal(t, 1, st.Pooled)
		require.Len(t, d.reasons(TicketCaptured), 1)
		require.NotContains(t, string(label), string(secretOf(stateIn(t, first))[:8]))

		conn := h.dial(&offer{held: retold(t, first, label)})
		require.NoError(t, conn.Handshake())
		if way.name == byListener.name {
			s := h.cache.Get0Session(h.accepted())
			require.Equal(t, Resumable, s.Status())
			require.True(t, h.cache.Remove(s))
			resumed, _ := h.call(retold(t, first, label))
			require.False(t, resumed, "revoked")
		}
	})
}

// stateIn is the session that a client holds.
func stateIn(t testing.TB, cs *tls.ClientSessionState) *tls.SessionState {
	_, state, err := cs.ResumptionState()
	require.NoError(t, err)
	return state
}

func TestATLS12SessionRemovedWhileItIsResumedStaysRemoved(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener, tls12)
	_, first := h.call(nil)
	label := ticketOf(t, first)
	s := cache.Get1Session(h.accepted())
	defer s.Release()
	v := cache.core().view(h.base)
	cs := tls.ConnectionState{Version: tls.VersionTLS12, ServerName: serverName}
	state := v.unwrap(nil, label, &cs)
	require.NotNil(t, state)
	require.True(t, cache.Remove(s))
	cs.DidResume = true
	require.NotEqual(t, label, v.wrap(nil, &cs, state))
	cs.DidResume = false
	require.Nil(t, v.unwrap(nil, label, &cs))
}

func TestParallelConnectionsShareATLS12Session(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		h := newHouse(t, new(ServerCache), way, tls12)
		_, first := h.call(nil)
		label := ticketOf(t, first)
		var all sync.WaitGroup
		for range 16 {
			conn := h.dial(&offer{held: retold(t, first, label)})
			all.Go(func() {
				if assert.NoError(t, conn.Handshake()) {
					assert.True(t, conn.ConnectionState().DidResume)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, checkServerStats(t, h.cache).Pooled)
	})
}

func TestOfParallelPresentationsOneResumes(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		h := newHouse(t, new(ServerCache), way)
		for range 3 {
			_, first := h.call(nil)
			label := ticketOf(t, first)
			var resumed atomic.Int32
			var all sync.WaitGroup
			for range 16 {
				conn := h.dial(&offer{held: retold(t, first, label)})
				all.Go(func() {
					if assert.NoError(t, conn.Handshake()) && conn.ConnectionState().DidResume {
						resumed.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, resumed.Load())
		}
		checkServerStats(t, h.cache)
	})
}

// unwraps is what UnwrapSession of a fresh connection says.
func (h *house) unwraps(l *serverLink, identity []byte, cs tls.ConnectionState) bool {
	c := h.cache.core()
	return c.view(h.base).unwrap(l, identity, &cs) != nil
}

func stateOf(conn *tls.Conn) tls.ConnectionState { return conn.ConnectionState() }

func TestOneTicketOfAClientHelloIsLookedUp(t *testing.T) {
	store := newShelf()
	for _, c := range []struct {
		name  string
		cache *ServerCache
	}{
		{"memory", new(ServerCache)},
		{"store", &ServerCache{Store: Seal(store, newFleet().keys)}},
		{"keyring", &ServerCache{Keyring: newFleet().keys}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, c.cache, byListener)
				var tickets [][]byte
				var cs tls.ConnectionState
				for range 5 {
					o := new(offer)
					conn := h.dial(o)
					exchange(t, conn)
					cs = stateOf(conn)
					cs.ServerName = serverName // a client's state does not say
					tickets = append(tickets, ticketOf(t, o.got))
				}
				if c.cache.Keyring == nil {
					require.True(t, h.unwraps(new(serverLink), tickets[0], cs))
				}
				link := &serverLink{core: c.cache.core()}
				link.wire = serverWire{Conn: deadConn{Conn: new(net.TCPConn)}, link: link}
				taken, strangers := store.takes, c.cache.Stats().Refused
				got := 0
				stranger := append([]byte(nil), tickets[1]...)
				stranger[40%len(stranger)] ^= 1
				for _, identity := range [][]byte{stranger, tickets[0], tickets[1], tickets[2], tickets[3]} {
					if h.unwraps(link, identity, cs) {
						got++
					}
				}
				if c.cache.Keyring != nil {
					require.LessOrEqual(t, got, 1)
					return
				}
				require.Zero(t, got, "the first that was made here is gone")
				require.Equal(t, strangers+1, c.cache.Stats().Refused)
				if c.cache.Store != nil {
					require.Equal(t, taken+1, store.takes)
				}
			})
		})
	}
}

func TestStrangersTicketsCostNoLookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, keys := newShelf(), newFleet().keys
		cache := &ServerCache{Store: Seal(store, keys), Scope: "front"}
		h := newHouse(t, cache, byListener)
		_, first := h.call(nil)
		label := ticketOf(t, first)
		require.Equal(t, 1, store.size())

		var presented uint64
		refused := func(why string, h *house, ticket []byte, change ...func(*tls.Config)) {
			presented++
			resumed, _ := h.call(retold(t, first, ticket), change...)
			require.False(t, resumed, why)
			require.Zero(t, store.takes, why)
		}
		for _, at := range []int{0, 15, 16, 31} {
			changed := append([]byte(nil), label...)
			changed[at] ^= 1
			refused(fmt.Sprintf("byte %d changed", at), h, changed)
		}
		refused("short", h, label[:31])
		refused("long", h, append(label, 0))
		refused("other server name", h, label, func(c *tls.Config) { c.ServerName = "other.test" })
		require.EqualValues(t, presented, cache.Stats().Refused)

		elsewhere := &ServerCache{Store: Seal(store, keys), Scope: "back"}
		refused("other scope", h.sibling(elsewhere, byListener), label)
		asking := &ServerCache{Store: Seal(store, keys), Scope: "front"}
		refused("certificates wanted", h.sibling(asking, byListener, func(server, _ *tls.Config) {
			server.ClientAuth = tls.RequestClientCert
		}), label)
		strange := tlstest.Must(ticket.NewKeyring([32]byte{2}))
		other := &ServerCache{Store: Seal(store, strange), Scope: "front"}
		refused("other keys", h.sibling(other, byListener), label)

		resumed, _ := h.call(first)
		require.True(t, resumed, "none of them has used it up")
	})
}

func TestSessionsEndAtTheServersLimits(t *testing.T) {
	for _, c := range []struct {
		name     string
		lifetime time.Duration
		version  func(server, client *tls.Config)
		alive    time.Duration // how long the first session lives
	}{
		{"default", 0, func(_, _ *tls.Config) {}, day},
		{"shorter", time.Hour, func(_, _ *tls.Config) {}, time.Hour},
		{"never above 7 days", 30 * day, func(_, _ *tls.Config) {}, 7 * day},
		{"TLS 1.2: 24 hours", 3 * day, tls12, day},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				cache := &ServerCache{Lifetime: c.lifetime, Observe: d.note}
				h := newHouse(t, cache, byListener, c.version, endless)
				_, early := h.call(nil)
				_, late := h.call(nil)
				time.Sleep(c.alive - time.Second)
				resumed, _ := h.call(early)
				require.True(t, resumed)
				time.Sleep(2 * time.Second)
				resumed, _ = h.call(late)
				require.False(t, resumed)
				require.Contains(t, d.reasons(SessionEnded), "lifetime")
				require.EqualValues(t, 1, checkServerStats(t, cache).Expired)
			})
		})
	}
}

// endless certificates are valid whatever a test does to the clock.
func endless(server, client *tls.Config) {
	client.InsecureSkipVerify = true
	began := time.Now()
	client.Time = func() time.Time { return began } // for it the tickets are always young
}

func TestAChainOfResumptionsIsBounded(t *testing.T) {
	for _, way := range serverWays {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := new(ServerCache)
				h := newHouse(t, cache, way, endless)
				_, at := h.call(nil)
				resumptions := 0
				for {
					time.Sleep(23 * time.Hour)
					var resumed bool
					if resumed, at = h.call(at); !resumed {
						break
					}
					resumptions++
				}
				require.Equal(t, 7, resumptions, "of a chain of 7 days")
			})
		})
	}
}

func TestAtABoundTheOldestSessionGoes(t *testing.T) {
	one := newHouse(t, new(ServerCache), byListener)
	one.call(nil)
	size := one.cache.Stats().Bytes
	for _, cache := range []*ServerCache{{MaxSessions: 8}, {MaxSessions: 1000, MaxBytes: 9*size - 1}} {
		h := newHouse(t, cache, byListener)
		var all []*tls.ClientSessionState
		for range 20 {
			_, got := h.call(nil)
			all = append(all, got)
		}
		st := checkServerStats(t, cache)
		require.Equal(t, 8, st.Pooled)
		require.EqualValues(t, 12, st.Evicted)
		resumed, _ := h.call(all[11]) // what it brings pushes all[12] out
		require.False(t, resumed)
		for i := 13; i < 20; i++ {
			resumed, _ = h.call(all[i]) // what it brings takes its place
			require.True(t, resumed, "session %d", i)
		}
		resumed, _ = h.call(all[12])
		require.False(t, resumed)
		require.Equal(t, 8, cache.Stats().Pooled, "a used session takes no room")
	}
}

func TestWhatDoesNotGoTogetherPanics(t *testing.T) {
	keys, store := newFleet().keys, Seal(newShelf(), newFleet().keys)
	for text, c := range map[string]*ServerCache{
		"Lifetime is negative":       {Lifetime: -1},
		"MaxSessions is negative":    {MaxSessions: -1},
		"MaxBytes is negative":       {MaxBytes: -1},
		"both a Store and a Keyring": {Store: store, Keyring: keys},
		"EarlyData and a Keyring":    {Keyring: keys, EarlyData: true},
	} {
		require.Panics(t, func() {
			defer func() {
				reason := fmt.Sprint(recover())
				require.Contains(t, reason, text)
				panic(reason)
			}()
			c.Stats()
		}, text)
	}
}

func TestConfigurationsThatWrapSessionsAreRefused(t *testing.T) {
	wrapping := &tls.Config{WrapSession: new(tls.Config).EncryptTicket}
	unwrapping := &tls.Config{UnwrapSession: new(tls.Config).DecryptTicket}
	cache := new(ServerCache)
	for _, base := range []*tls.Config{wrapping, unwrapping, new(ServerCache).TLSConfig(nil), cache.TLSConfig(nil).Clone()} {
		require.PanicsWithValue(t, errWrapped.Error(), func() { cache.TLSConfig(base) })
		require.PanicsWithValue(t, errWrapped.Error(), func() { cache.NewListener(newInn(), base) })
	}
	made := cache.TLSConfig(nil)
	require.Same(t, made, cache.TLSConfig(made), "it is its own")
	require.NotPanics(t, func() { cache.NewListener(newInn(), made) })
	made = cache.TLSConfig(nil)
	made.WrapSession = wrapping.WrapSession
	require.PanicsWithValue(t, errWrapped.Error(), func() { cache.NewListener(newInn(), made) })

	h := newHouse(t, cache, byListener, func(server, _ *tls.Config) {
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return wrapping, nil }
	})
	require.Error(t, h.dial(new(offer)).Handshake())
	_, err := cache.core().view(h.base).forClient(&tls.ClientHelloInfo{}, nil)
	require.ErrorIs(t, err, errWrapped)
}

// What TLSConfig made may be changed, and what it then asks of clients holds
// wherever it is used.
func TestWhatIsChangedInAResultOfTLSConfigHolds(t *testing.T) {
	refuse := func(tls.ConnectionState) error { return errors.New("refused") }
	for change, apply := range map[string]func(made *tls.Config){
		"nothing":          func(*tls.Config) {},
		"ClientAuth":       func(made *tls.Config) { made.ClientAuth = tls.RequireAnyClientCert },
		"VerifyConnection": func(made *tls.Config) { made.VerifyConnection = refuse },
		"GetConfigForClient": func(made *tls.Config) {
			made.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
		},
	} {
		for use, listen := range map[string]func(c *ServerCache, n *inn, made *tls.Config) net.Listener{
			"itself":      func(_ *ServerCache, n *inn, made *tls.Config) net.Listener { return tls.NewListener(n, made) },
			"NewListener": func(c *ServerCache, n *inn, made *tls.Config) net.Listener { return c.NewListener(n, made) },
			"for a client": func(c *ServerCache, n *inn, made *tls.Config) net.Listener {
				return c.NewListener(n, &tls.Config{
					GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return made, nil },
				})
			},
		} {
			if change == "GetConfigForClient" && use == "for a client" {
				continue // crypto/tls does not ask again
			}
			t.Run(change+" "+use, func(t *testing.T) {
				d := new(diary)
				h := newHouse(t, &ServerCache{Observe: d.note}, serverWay{use, func(h *house, n *inn) net.Listener {
					made := h.cache.TLSConfig(h.base)
					apply(made)
					return listen(h.cache, n, made)
				}})
				conn := h.dial(new(offer))
				_, err := conn.Write([]byte("x"))
				if err == nil { // in TLS 1.3 the server may refuse later
					_, err = conn.Read(make([]byte, 1))
				}
				if change != "nothing" {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				require.Len(t, d.reasons(HandshakeDone), 1, "it is counted once")
			})
		}
	}
}

func TestGetConfigForClientKeepsWorking(t *testing.T) {
	for _, way := range serverWays {
		t.Run(way.name, func(t *testing.T) {
			var inner atomic.Pointer[tls.Config]
			var failing atomic.Bool
			h := newHouse(t, new(ServerCache), way, func(server, _ *tls.Config) {
				server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
					if failing.Load() {
						return nil, errors.New("no")
					}
					return inner.Load(), nil
				}
			})
			own := &tls.Config{Certificates: h.base.Certificates, NextProtos: []string{"inner"}}
			_, at := h.call(nil)
			for turn, config := range []*tls.Config{nil, own, own, own.Clone(), nil} {
				inner.Store(config)
				o := &offer{held: at}
				conn := h.dial(o, func(c *tls.Config) { c.NextProtos = []string{"inner"} })
				exchange(t, conn)
				require.True(t, conn.ConnectionState().DidResume, "turn %d: none asks for certificates", turn)
				require.Equal(t, config != nil, conn.ConnectionState().NegotiatedProtocol == "inner")
				at = o.got
			}
			failing.Store(true)
			require.Error(t, h.dial(new(offer)).Handshake())
		})
	}
}

func TestAClosedServerCacheServesFullHandshakes(t *testing.T) {
	eachServerWay(t, func(t *testing.T, way serverWay, version func(server, client *tls.Config)) {
		h := newHouse(t, new(ServerCache), way, version)
		_, before := h.call(nil)
		require.NoError(t, h.cache.Close())
		require.NoError(t, h.cache.Close())
		resumed, after := h.call(before)
		require.False(t, resumed)
		resumed, _ = h.call(after)
		require.False(t, resumed)
		st := checkServerStats(t, h.cache)
		require.EqualValues(t, 1, st.Removed)
		require.Zero(t, st.Pooled)
	})
}
