package resume

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

func TestAcceptReturnsARealTLSConnOverTheInnerOne(t *testing.T) {
	cache := new(ServerCache)
	n := newInn()
	listener := cache.NewListener(n, new(tls.Config))
	client, server := tlstest.Pipe()
	defer client.Close()
	go func() { n.conns <- server }()
	conn, err := listener.Accept()
	require.NoError(t, err)
	require.IsType(t, (*tls.Conn)(nil), conn)
	unwrapped, ok := conn.(*tls.Conn).NetConn().(interface{ NetConn() net.Conn })
	require.True(t, ok)
	require.Same(t, server, unwrapped.NetConn())
	require.Equal(t, n.Addr(), listener.Addr())
	require.NoError(t, listener.Close())
	_, err = listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, server.Close())
}

func TestAccessorsReturnTheLastSession(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener)
	o := new(offer)
	conn := h.dial(o)
	exchange(t, conn)
	sent := cache.Get0Session(h.accepted())
	require.Equal(t, Resumable, sent.Status())
	require.Equal(t, idOf(t, o.got), sent.Info().ID)
	mine := cache.Get1Session(h.accepted())
	require.True(t, mine.Same(sent))
	require.Equal(t, 1, cache.Stats().Handles)

	resumed, next := h.call(o.got)
	require.True(t, resumed)
	require.Equal(t, Used, sent.Status())
	require.Equal(t, "used", sent.Reason())
	second := cache.Get0Session(h.accepted())
	require.Equal(t, idOf(t, next), second.Info().ID)
	require.Equal(t, 1, second.Info().Resumptions)
	require.Equal(t, sent.Info().FullHandshake, second.Info().FullHandshake)
	mine.Release()
	require.Zero(t, cache.Stats().Handles)
}

func idOf(t testing.TB, cs *tls.ClientSessionState) string {
	sum := sha256.Sum256(ticketOf(t, cs))
	return hex.EncodeToString(sum[:8])
}

func TestBeforeTheHandshakeThereIsNoSession(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener)
	raw := h.raw()
	defer raw.Close()
	h.raw().Close() // by now the first one has been accepted
	require.Nil(t, cache.Get0Session(h.accepted()))
	require.Nil(t, cache.Get1Session(h.accepted()))
	require.Nil(t, cache.Get0Session(nil))
	require.Nil(t, cache.Get0Session(raw))
	require.Nil(t, cache.Get0Session(tls.Server(raw, h.base)))
	require.Nil(t, new(ServerCache).Get0Session(h.accepted()), "another cache's")
}

func TestWithoutATicketTheConnectionsOwnSessionIsReturned(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener)
	conn := tls.Client(h.raw(), h.client) // without a cache it wants no ticket
	exchange(t, conn)
	server := h.accepted()
	own := cache.Get1Session(server)
	require.Equal(t, Pending, own.Status())
	require.True(t, own.Same(cache.Get0Session(server)))
	require.Equal(t, serverName, own.Info().ServerName)
	require.EqualValues(t, tls.VersionTLS13, own.Info().Version)
	require.Empty(t, own.Info().ID)
	require.False(t, cache.Remove(own))
	require.NoError(t, conn.Close())
	server.Close() // or whoever serves it is just doing that
	require.Eventually(t, func() bool { return own.Status() == Failed }, time.Minute, time.Millisecond, "none can come any more")
	own.Release()
	require.Equal(t, Freed, cache.Get0Session(server).Status())
	require.Zero(t, checkServerStats(t, cache).Captured)

	// A resumed connection whose configuration sends none.
	var off atomic.Pointer[tls.Config]
	h = newHouse(t, cache, byListener, func(server, _ *tls.Config) {
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return off.Load(), nil }
	})
	_, held := h.call(nil)
	link := cache.core().linkOf(h.accepted())
	link.mu.Lock() // as if none had been sent
	used := link.sent
	link.used, link.sent, link.facts.DidResume = used, nil, true
	link.mu.Unlock()
	require.Equal(t, idOf(t, held), cache.Get0Session(h.accepted()).Info().ID)
}

func TestSessionKnowsTheConnectionItWasSentOn(t *testing.T) {
	clientCA := tlstest.Must(tlstest.NewCA("clients"))
	leaf := tlstest.Must(clientCA.Issue(tlstest.Leaf{Names: []string{"someone"}, Client: true, NotAfter: time.Now().Add(2 * time.Hour)}))
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			cache := new(ServerCache)
			h := newHouse(t, cache, byListener, version, func(server, client *tls.Config) {
				server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, clientCA.Pool()
				server.NextProtos, client.NextProtos = []string{"b"}, []string{"a", "b"}
				client.Certificates = []tls.Certificate{leaf}
			})
			_, at := h.call(nil)
			sum := sha256.Sum256(leaf.Certificate[0])
			for turn := range 4 {
				info := cache.Get0Session(h.accepted()).Info()
				assert.Equal(t, serverName, info.ServerName)
				assert.Equal(t, "b", info.ALPN)
				assert.Equal(t, hex.EncodeToString(sum[:]), info.ClientLeaf)
				assert.Equal(t, 1, info.Certificates)
				assert.Equal(t, leaf.Leaf.NotAfter, info.LeafNotAfter)
				assert.Equal(t, leaf.Leaf.NotAfter, info.Expires.UTC(), "it does not outlive the certificate")
				if info.Version == tls.VersionTLS13 { // below, it is one session
					assert.Equal(t, turn, info.Resumptions)
				}
				assert.NotEmpty(t, info.Endpoint)
				assert.False(t, info.Client)
				var resumed bool
				resumed, at = h.call(at)
				require.True(t, resumed)
			}
		})
	}
}

func TestAConnectionsEndLetsItsSessionsGo(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener)
	_, first := h.call(nil)
	server := h.accepted()
	sent := cache.Get0Session(server)
	require.NoError(t, server.Close())
	server.Close() // gives nothing back twice
	require.Equal(t, Resumable, sent.Status(), "the pool has it")
	resumed, _ := h.call(first)
	require.True(t, resumed)
	require.NoError(t, h.accepted().Close()) // it held on to what it resumed
	require.Equal(t, Freed, sent.Status())
	require.Equal(t, "used", sent.Reason())
}

func TestWhatVerifyConnectionRefusesLeavesNoSession(t *testing.T) {
	eachServerWay(t, func(t *testing.T, way serverWay, version func(server, client *tls.Config)) {
		var refuse atomic.Bool
		h := newHouse(t, new(ServerCache), way, version, func(server, _ *tls.Config) {
			server.VerifyConnection = func(tls.ConnectionState) error {
				if refuse.Load() {
					return errors.New("no")
				}
				return nil
			}
		})
		_, first := h.call(nil)
		refuse.Store(true)
		o := &offer{held: first}
		conn := h.dial(o)
		if conn.Handshake() == nil {
			_, err := conn.Read(make([]byte, 1))
			require.Error(t, err)
		}
		refuse.Store(false)
		st := checkServerStats(t, h.cache)
		old := conn.ConnectionState().Version == tls.VersionTLS12
		if way.name == byListener.name && !old { // which sends its ticket later
			require.Zero(t, st.Kept, "what was sent before it was refused")
		}
		require.EqualValues(t, 1, st.Full)
		require.Zero(t, st.Resumed)
		resumed, _ := h.call(first)
		require.Equal(t, old, resumed, "it was presented before")
	})
}

func TestRemoveRevokesOnce(t *testing.T) {
	store := newShelf()
	for name, cache := range map[string]*ServerCache{
		"memory": new(ServerCache),
		"store":  {Store: Seal(store, newFleet().keys)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var gone []string
				cache.RemoveSession = func(s *Session) { gone = append(gone, s.Info().ID+" "+s.Reason()) }
				h := newHouse(t, cache, byListener)
				_, first := h.call(nil)
				s := cache.Get1Session(h.accepted())
				defer s.Release()
				require.False(t, new(ServerCache).Remove(s), "another cache's")
				require.False(t, cache.Remove(nil))
				require.Equal(t, Resumable, s.Status())
				require.True(t, cache.Remove(s))
				require.False(t, cache.Remove(s))
				require.Equal(t, Removed, s.Status())
				require.Equal(t, "removed", s.Reason())
				require.Equal(t, []string{idOf(t, first) + " removed"}, gone)
				if cache.Store != nil {
					require.Zero(t, store.size())
				}

				resumed, next := h.call(first)
				require.False(t, resumed)
				sent := cache.Get1Session(h.accepted())
				defer sent.Release()
				resumed, _ = h.call(next)
				require.True(t, resumed)
				require.False(t, cache.Remove(sent), "used")
				require.EqualValues(t, 1, checkServerStats(t, cache).Removed)
			})
		})
	}
}

func TestAServersSessionIsOfferedByNoClient(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener)
	h.call(nil)
	s := cache.Get0Session(h.accepted())
	plug := s.ClientSessionCache()
	_, ok := plug.Get(serverName)
	require.False(t, ok)
	plug.Put(serverName, newMint(t).session())
	require.EqualValues(t, 1, cache.Stats().Captured)
	require.Equal(t, Resumable, s.Status())
	_, err := (&Dialer{Scope: new(ClientCache).NewScope(), Session: s}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	require.ErrorIs(t, err, ErrOtherScope)
}

func TestEverySentSessionIsAnnouncedThenLeavesOnce(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		var told []string
		var d diary
		cache := &ServerCache{
			MaxSessions:   3,
			NewSession:    func(s *Session) { told = append(told, "+"+s.Info().ID) },
			RemoveSession: func(s *Session) { told = append(told, "-"+s.Info().ID+" "+s.Reason()) },
			Observe:       d.note,
		}
		h := newHouse(t, cache, way)
		var ids []string
		var at *tls.ClientSessionState
		for turn := range 5 {
			held := at
			if turn != 2 {
				held = nil
			}
			_, at = h.call(held)
			ids = append(ids, idOf(t, at))
		}
		require.NoError(t, cache.Close())
		require.Equal(t, []string{
			"+" + ids[0], "+" + ids[1], "-" + ids[1] + " used", "+" + ids[2],
			"+" + ids[3], "-" + ids[0] + " evicted", "+" + ids[4],
		}, told[:7])
		require.ElementsMatch(t, []string{"-" + ids[2] + " closed", "-" + ids[3] + " closed", "-" + ids[4] + " closed"}, told[7:])
		require.Len(t, d.reasons(SessionEnded), 5)
		require.Len(t, d.reasons(TicketCaptured), 5)
		checkServerStats(t, cache)
	})
}

func TestAHandshakeSaysWhyItWasAFullOne(t *testing.T) {
	var d diary
	cache := &ServerCache{Observe: d.note}
	h := newHouse(t, cache, byListener)
	_, first := h.call(nil)
	h.call(first)
	h.call(first)
	h.call(retold(t, first, []byte("another's")))
	h.call(first, func(c *tls.Config) { c.ServerName = "other.test" })
	require.Equal(t, []string{"", "", "gone", "stranger", "stranger"}, d.reasons(HandshakeDone))
	require.Equal(t, []string{"gone", "stranger", "stranger"}, d.reasons(SessionMissing))
}

func TestServerCallbacksMayCallTheCache(t *testing.T) {
	eachServerWay(t, func(t *testing.T, way serverWay, version func(server, client *tls.Config)) {
		cache := new(ServerCache)
		var h *house
		use := func(*Session) {
			cache.Stats()
			cache.Remove(nil)
			cache.Get0Session(h.accepted())
		}
		cache.NewSession, cache.RemoveSession = use, use
		cache.Observe = func(e Event) { use(e.Session); _ = e.String() }
		h = newHouse(t, cache, way, version)
		_, at := h.call(nil)
		resumed, _ := h.call(at)
		require.True(t, resumed)
	})
}

func TestNewSessionMayRevokeWhatIsSent(t *testing.T) {
	cache := new(ServerCache)
	cache.NewSession = func(s *Session) { cache.Remove(s) }
	h := newHouse(t, cache, byListener)
	_, at := h.call(nil)
	resumed, _ := h.call(at)
	require.False(t, resumed)
	require.EqualValues(t, 2, checkServerStats(t, cache).Removed)
}

func TestNoFormattingOfAServersThingsShowsASecret(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener)
	_, at := h.call(nil)
	s := cache.Get0Session(h.accepted())
	id := idOf(t, at)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, "Session("+id+" Resumable)", fmt.Sprintf(verb, s))
		require.Equal(t, fmt.Sprintf("ServerCache(1 sessions, %d bytes)", cache.Stats().Bytes), fmt.Sprintf(verb, cache))
	}
	require.Equal(t, "ServerCache(nil)", fmt.Sprint((*ServerCache)(nil)))
}

// A configuration that asks for certificates is one of a kind, unless a name
// says otherwise.
func TestClientPoliciesAreApart(t *testing.T) {
	clientCA, otherCA := tlstest.Must(tlstest.NewCA("clients")), tlstest.Must(tlstest.NewCA("clients"))
	leaf := tlstest.Must(clientCA.Issue(tlstest.Leaf{Names: []string{"someone"}, Client: true}))
	verifying := func(auth tls.ClientAuthType, roots *x509.CertPool) *tls.Config {
		return &tls.Config{ClientAuth: auth, ClientCAs: roots}
	}
	hooked := verifying(tls.RequireAnyClientCert, nil)
	hooked.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
	for _, c := range []struct {
		why     string
		a, b    *tls.Config
		named   bool // resume with a named Scope
		unnamed bool
	}{
		{"nobody is asked", verifying(tls.NoClientCert, nil), verifying(tls.NoClientCert, clientCA.Pool()), true, true},
		{"the same again", verifying(tls.RequireAndVerifyClientCert, clientCA.Pool()), verifying(tls.RequireAndVerifyClientCert, clientCA.Pool()), true, false},
		{"another CA of the same name", verifying(tls.RequireAndVerifyClientCert, clientCA.Pool()), verifying(tls.RequireAndVerifyClientCert, otherCA.Pool()), false, false},
		{"now it must be verified", verifying(tls.RequireAnyClientCert, nil), verifying(tls.RequireAndVerifyClientCert, clientCA.Pool()), false, false},
		{"now anything goes", verifying(tls.RequireAndVerifyClientCert, clientCA.Pool()), verifying(tls.RequestClientCert, nil), false, false},
		{"now a hook looks at it", verifying(tls.RequireAnyClientCert, nil), hooked, false, false},
	} {
		for name, resumes := range map[string]bool{"": c.unnamed, "tenant": c.named} {
			t.Run(c.why+" "+name, func(t *testing.T) {
				var now atomic.Pointer[tls.Config]
				cache := &ServerCache{Scope: name}
				h := newHouse(t, cache, byListener, func(server, client *tls.Config) {
					for _, config := range []*tls.Config{c.a, c.b} {
						config.Certificates = server.Certificates
					}
					server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return now.Load(), nil }
					client.Certificates = []tls.Certificate{leaf}
				})
				now.Store(c.a)
				_, at := h.call(nil)
				resumed, at := h.call(at)
				require.True(t, resumed, "the very same")
				now.Store(c.b)
				conn := h.dial(&offer{held: at})
				if conn.Handshake() == nil {
					require.Equal(t, resumes, conn.ConnectionState().DidResume)
				}
			})
		}
	}
}

// Whatever the policy: a client's session does not outlive its certificate.
func TestAClientsCertificateIsLookedAtAgain(t *testing.T) {
	for name, cache := range map[string]*ServerCache{
		"memory": new(ServerCache),
		"store":  {Store: Seal(newShelf(), newFleet().keys), Scope: "one"},
		"sealed": {Keyring: newFleet().keys, Scope: "one"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := tlstest.Must(tlstest.NewCAValid("clients", time.Now().Add(-time.Hour), time.Now().Add(day)))
				leaf := tlstest.Must(ca.Issue(tlstest.Leaf{
					Names: []string{"someone"}, Client: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
				}))
				h := newHouse(t, cache, byListener, endless, func(server, client *tls.Config) {
					server.ClientAuth = tls.RequireAnyClientCert
					client.Certificates = []tls.Certificate{leaf}
				})
				_, first := h.call(nil)
				time.Sleep(2*time.Hour - time.Minute)
				resumed, next := h.call(first)
				require.True(t, resumed)
				time.Sleep(2 * time.Minute)
				resumed, _ = h.call(next)
				require.False(t, resumed)
			})
		})
	}
}

func TestManyConfigurationsForClientsAreNotHeldOnTo(t *testing.T) {
	cache := new(ServerCache)
	h := newHouse(t, cache, byListener, func(server, _ *tls.Config) {
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: server.Certificates}, nil
		}
	})
	var at *tls.ClientSessionState
	for turn := range 20 {
		var resumed bool
		resumed, at = h.call(at)
		require.Equal(t, turn > 0, resumed)
	}
	for range 2 * maxServerConfigs {
		_, err := cache.core().viewOf(new(tls.Config))
		require.NoError(t, err)
	}
	views := &cache.core().views
	require.LessOrEqual(t, len(views.views), maxServerConfigs)
}
