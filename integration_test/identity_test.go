package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// Who a client is. A server that resumes takes the client for who it was when
// the session began, and asks for no certificate again.
const (
	alice  = "alice"
	bob    = "bob"
	nobody = "nobody" // no certificate
)

// A visitor is a client as the server saw it.
type visitor struct {
	claims  string // what the client said of itself
	proved  string // its certificate, or the one its session began with
	resumed bool
}

// A gate is a site that looks at client certificates and keeps a book of who
// came.
type gate struct {
	*site
	mu    sync.Mutex // guards book
	book  []visitor
	certs map[string]tls.Certificate
}

func newGate(t testing.TB) *gate {
	t.Helper()
	clients := tlstest.Must(tlstest.NewCA("clients"))
	g := &gate{certs: make(map[string]tls.Certificate)}
	for _, who := range []string{alice, bob} {
		g.certs[who] = tlstest.Must(clients.Issue(tlstest.Leaf{Names: []string{who}, Client: true}))
	}
	g.site = newSite(t, setup{
		handle: g.admit,
		server: func(c *tls.Config) {
			c.ClientAuth = tls.VerifyClientCertIfGiven
			c.ClientCAs = clients.Pool()
		},
	})
	return g
}

// admit reads a line that says who is there, writes it down beside what the
// certificates say, and answers.
func (g *gate) admit(conn net.Conn) {
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	state := conn.(*tls.Conn).ConnectionState()
	v := visitor{claims: line[:len(line)-1], proved: nobody, resumed: state.DidResume}
	if len(state.PeerCertificates) > 0 {
		v.proved = state.PeerCertificates[0].Subject.CommonName
	}
	g.mu.Lock()
	g.book = append(g.book, v)
	g.mu.Unlock()
	io.WriteString(conn, line)
}

// claim tells the gate who is there and waits for its answer.
func claim(conn net.Conn, who string) error {
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, who+"\n"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len(who)+1))
	return err
}

// enter makes one connection as somebody.
func (g *gate) enter(e entry, who string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := e.dial(ctx, g.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return claim(conn, who)
}

// last is who came last.
func (g *gate) last() visitor {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.book[len(g.book)-1]
}

// as is the client configuration of somebody.
func (g *gate) as(who string) *tls.Config {
	return g.with(func(c *tls.Config) {
		if who != nobody {
			c.Certificates = []tls.Certificate{g.certs[who]}
		}
	})
}

// inScope are the ways in that see the configuration, in a scope of the
// caller's choice.
var inScope = map[string]func(*resume.Scope, *tls.Config) entry{
	"TLSConfig": func(scope *resume.Scope, base *tls.Config) entry {
		config := scope.TLSConfig(base)
		own := config.ClientSessionCache.(*resume.Scope)
		e := plugged(config, own, own)
		e.scope = scope
		return e
	},
	"NewConn": bound,
	"Dialer":  dialed,
}

// Rule N25, in one named scope: certificates are seen and kept apart.
func TestClientCertificatesOfAScopeNeverMix(t *testing.T) {
	for name, open := range inScope {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			c := newCache(t, new(resume.ClientCache))
			scope := c.Scope("tenant")
			people := []string{alice, bob, nobody}
			entries := make(map[string]entry)
			for _, who := range people {
				entries[who] = open(scope, g.as(who))
			}
			const turns, each = 4, 3
			for range turns {
				var all errgroup.Group
				for range each {
					for _, who := range people {
						all.Go(func() error { return g.enter(entries[who], who) })
					}
				}
				require.NoError(t, all.Wait())
			}

			resumed := make(map[string]int)
			for _, v := range g.book {
				assert.Equal(t, v.claims, v.proved, "resumed: %t", v.resumed)
				if v.resumed {
					resumed[v.claims]++
				}
			}
			for _, who := range people {
				assert.GreaterOrEqual(t, resumed[who], each*(turns-1), who)
			}
			requireNoReuse(t, g.Identities)
		})
	}
}

// An exact session carries its identity along, so that another configuration
// must not dial with it.
func TestAnExactSessionIsRefusedToAnotherCertificate(t *testing.T) {
	g := newGate(t)
	c := newCache(t, new(resume.ClientCache))
	scope := c.Scope("tenant")
	e := dialed(scope, g.as(alice))
	require.NoError(t, g.enter(e, alice))
	session := e.Get1Session(e.key(g.Addr))
	defer session.Release()

	for _, who := range []string{bob, nobody} {
		d := &resume.Dialer{Scope: scope, Config: g.as(who), Session: session}
		_, err := d.Dial("tcp", g.Addr)
		require.ErrorIs(t, err, resume.ErrOtherScope, who)
	}
	require.Equal(t, resume.Resumable, session.Status())
	require.NoError(t, g.enter(e, alice))
	require.Equal(t, visitor{alice, alice, true}, g.last())
}

// A changing is an identity behind a GetClientCertificate hook, which the layer
// cannot look into.
type changing struct {
	mu  sync.Mutex
	who string
}

func (c *changing) to(who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who = who
}

// config asks the hook anew in every full handshake.
func (c *changing) config(g *gate) *tls.Config {
	return g.with(func(config *tls.Config) {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			cert := g.certs[c.who] // the zero certificate of nobody says none
			return &cert, nil
		}
	})
}

func TestClearWithdrawsAnIdentity(t *testing.T) {
	for name, open := range inScope {
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			c := newCache(t, new(resume.ClientCache))
			scope, me := c.Scope("tenant"), &changing{who: alice}
			e := open(scope, me.config(g))
			require.NoError(t, g.enter(e, alice))
			require.NoError(t, g.enter(e, alice))
			require.Equal(t, visitor{alice, alice, true}, g.last())
			held := e.Get1Session(e.key(g.Addr))
			defer held.Release()

			for _, who := range []string{bob, nobody} {
				me.to(who)
				require.NoError(t, scope.Clear(t.Context()))
				require.NoError(t, g.enter(e, who))
				require.Equal(t, visitor{who, who, false}, g.last())
				require.NoError(t, g.enter(e, who))
				require.Equal(t, visitor{who, who, true}, g.last())
			}
			require.Equal(t, resume.Removed, held.Status(), "for those, too, who hold it")
			requireNoReuse(t, g.Identities)
		})
	}
}

// A ticket that a connection has not read when Clear runs belongs to the old
// identity. Only a connection that is known can keep it out.
func TestClearBeatsATicketInFlight(t *testing.T) {
	for _, clear := range []string{"Scope.Clear", "ClientCache.Clear"} {
		for _, name := range []string{"NewConn", "Dialer"} {
			t.Run(clear+"/"+name, func(t *testing.T) {
				g := newGate(t)
				c, heard := listen(t, new(resume.ClientCache))
				scope, me := c.Scope("tenant"), &changing{who: alice}
				e := inScope[name](scope, me.config(g))
				conn := e.connect(t, g.Addr)

				me.to(bob)
				if clear == "Scope.Clear" {
					require.NoError(t, scope.Clear(t.Context()))
				} else {
					require.NoError(t, c.Clear(t.Context()))
				}
				require.NoError(t, claim(conn, alice))

				got := heard.got()
				require.Len(t, got, 1, "it was received, and somebody hears of it")
				require.Equal(t, resume.Removed, got[0].Status())
				require.NoError(t, g.enter(e, bob))
				require.Equal(t, visitor{bob, bob, false}, g.last())
			})
		}
	}
}

// The identity changes while connections are being made. Whoever begins after
// Clear has returned is not taken for who was there before.
func TestClearHoldsUnderLoad(t *testing.T) {
	g := newGate(t)
	c := newCache(t, new(resume.ClientCache))
	scope, me := c.Scope("tenant"), &changing{who: alice}
	e := dialed(scope, me.config(g))
	const crowd, turns = 4, 10
	var before errgroup.Group // they may be either
	for turn := range turns {
		for range crowd {
			before.Go(func() error { return g.enter(e, "either") })
		}
		who := []string{bob, alice}[turn%2]
		me.to(who)
		require.NoError(t, scope.Clear(t.Context()))
		var after errgroup.Group
		for range crowd {
			after.Go(func() error { return g.enter(e, who) })
		}
		require.NoError(t, after.Wait())
	}
	require.NoError(t, before.Wait())
	for _, v := range g.book {
		if v.claims != "either" {
			assert.Equal(t, v.claims, v.proved, "resumed: %t", v.resumed)
		}
	}
	requireNoReuse(t, g.Identities)
}
