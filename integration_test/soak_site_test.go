package integration_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
)

// A soakSite is one server name: one server or two, behind proxies that break
// some of their connections.
type soakSite struct {
	name     string
	version  uint16
	calm     bool // nothing fails
	mortal   bool // its server is restarted with new keys
	client   *tls.Config
	seen     *tlstest.Identities // by its servers; of openssl nothing
	proxies  []*tlstest.Faulty
	clients  tally
	accepted tally // handshakes that its servers finished; of openssl none
	counted  bool  // accepted is
	struck   atomic.Int64

	mu      sync.Mutex // guards the rest, and restarts
	config  *tls.Config
	servers []*tlstest.Server
}

// String is for the report.
func (s *soakSite) String() string {
	return fmt.Sprintf("%-8s clients: %v; servers: %v; faults %d", s.name, &s.clients, &s.accepted, s.struck.Load())
}

func (s *soakSite) addr(random *rand.Rand) string {
	return s.proxies[random.IntN(len(s.proxies))].Addr
}

// patience is short where a connection may be stalled.
func (s *soakSite) patience() time.Duration {
	if s.calm {
		return patience
	}
	return 300 * time.Millisecond
}

func (s *soak) openSites(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	add := func(site *soakSite, servers int, own bool, change ...func(*tls.Config)) {
		site.client = &tls.Config{RootCAs: ca.Pool(), ServerName: site.name + ".test"}
		onlyP256(site.client)
		site.seen, site.counted = new(tlstest.Identities), true
		s.sites = append(s.sites, site)
		site.config = &tls.Config{Certificates: []tls.Certificate{issue(ca, site.client.ServerName)}, MaxVersion: site.version}
		newKeys(site.config)
		for _, f := range change {
			f(site.config)
		}
		for range servers {
			if own {
				site.config = site.config.Clone()
				newKeys(site.config)
			}
			site.serve(t, s.seed)
		}
	}
	add(&soakSite{name: "calm", version: tls.VersionTLS13, calm: true}, 1, true)
	add(&soakSite{name: "shared", version: tls.VersionTLS13}, 2, false)
	add(&soakSite{name: "apart", version: tls.VersionTLS13}, 2, true)
	add(&soakSite{name: "old", version: tls.VersionTLS12}, 1, true)
	add(&soakSite{name: "mortal", version: tls.VersionTLS13, mortal: true}, 1, true)
	add(&soakSite{name: "moody", version: tls.VersionTLS13}, 1, true, moody, afterwards)
	s.openOpenSSL(t, ca)
}

// openOpenSSL adds an openssl s_server, if there is one.
func (s *soak) openOpenSSL(t *testing.T, ca *tlstest.CA) {
	site := &soakSite{name: "openssl", version: tls.VersionTLS13, seen: new(tlstest.Identities)}
	site.client = &tls.Config{RootCAs: ca.Pool(), ServerName: site.name + ".test"}
	onlyP256(site.client)
	server, err := peer.OpenSSL().Start(issue(ca, site.client.ServerName))
	if errors.Is(err, peer.ErrMissing) {
		if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
			peerMissing(t, err)
		}
		t.Log("without openssl s_server")
		return
	}
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	site.proxy(t, server.Addr, 4, s.seed)
	s.sites = append(s.sites, site)
}

// moody makes a server fail some of the resumptions: one in 20 when the ticket
// is offered, and one in 20 when it has resumed.
func moody(c *tls.Config) {
	keys := c.Clone()
	var mood atomic.Int64
	c.WrapSession = keys.EncryptTicket
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		if mood.Add(1)%20 == 0 {
			return nil, errUnresumed
		}
		return keys.DecryptTicket(identity, cs)
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if cs.DidResume && mood.Add(1)%20 == 0 {
			return errUnresumed
		}
		return nil
	}
}

// serve adds a Go server and its proxy.
func (s *soakSite) serve(t *testing.T, seed uint64) {
	server := tlstest.Must(s.newServer())
	s.servers = append(s.servers, server)
	n := len(s.servers) - 1
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.servers[n].Close()
	})
	s.proxy(t, server.Addr, 64, seed)
}

func (s *soakSite) newServer() (*tlstest.Server, error) {
	return tlstest.NewServer(tlstest.Options{Config: s.config, Identities: s.seen, Handle: func(conn net.Conn) {
		s.accepted.add(conn.(*tls.Conn).ConnectionState().DidResume)
		io.Copy(conn, conn)
	}})
}

// restart ends the server and starts another with new keys, if it is such a
// site.
func (s *soakSite) restart() {
	if !s.mortal {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[0].Close()
	s.config = s.config.Clone()
	newKeys(s.config)
	s.servers[0] = tlstest.Must(s.newServer())
	s.proxies[0].Retarget(s.servers[0].Addr)
}

// proxy adds a proxy that breaks one connection in eight, unless all is calm.
// openssl s_server has to end one before it serves the next, so that one that
// is stalled there holds up the others.
func (s *soakSite) proxy(t *testing.T, target string, parallel int, seed uint64) {
	proxy, err := tlstest.NewFaulty(target, parallel)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	random := rand.New(rand.NewPCG(seed, uint64(1000+len(s.name)+len(s.proxies))))
	proxy.Choose(func() tlstest.Fault {
		if s.calm || random.IntN(8) > 0 {
			return noFault
		}
		fault := tlstest.Fault{
			Kind:      tlstest.FaultKind(1 + random.IntN(int(tlstest.Delay))),
			Direction: tlstest.Direction(random.IntN(2)),
			After:     random.IntN(1500),
		}
		if !s.counted && (fault.Kind == tlstest.Stall || fault.Kind == tlstest.Flip) {
			fault.Kind = tlstest.Reset
		}
		s.struck.Add(1)
		return fault
	})
	s.proxies = append(s.proxies, proxy)
}

// requireAddsUp holds that servers and clients say the same of their
// connections: exactly where nothing fails, and elsewhere as far as a client
// knows how far its connection came.
func (s *soakSite) requireAddsUp(t *testing.T) {
	t.Helper()
	full, resumed, other := s.clients.full.Load(), s.clients.resumed.Load(), s.clients.other.Load()
	if s.calm {
		assert.Zero(t, other, s.name)
	}
	if s.counted {
		theirs := [2]int64{s.accepted.full.Load(), s.accepted.resumed.Load()}
		assert.GreaterOrEqual(t, theirs[0], full, s.name)
		assert.GreaterOrEqual(t, theirs[1], resumed, s.name)
		assert.LessOrEqual(t, theirs[0]+theirs[1], full+resumed+other, s.name)
	}
}
