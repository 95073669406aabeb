package integration_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// aTest and bTest are two names of one server, in one certificate: all that
// rule N5 asks for is given. Rule N6 asks for more.
const (
	aTest = "a.test"
	bTest = "b.test"
)

func named(name string) func(*tls.Config) {
	return func(c *tls.Config) { c.ServerName = name }
}

// What a scope sees of a configuration leaves names out: the key alone keeps
// them apart.
func TestASessionIsNotOfferedUnderAnotherName(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{names: []string{aTest, bTest}})
			c := newCache(t, new(resume.ClientCache))
			a, b := w.open(c, s.with(named(aTest))), w.open(c, s.with(named(bTest)))
			a.full(t, s.Addr)
			b.full(t, s.Addr)
			require.Zero(t, s.Identities.Counts().Offered)

			a.resumed(t, s.Addr)
			b.resumed(t, s.Addr)
			require.Equal(t, 2, requireNoReuse(t, s.Identities).Offered)
		})
	}
}

// Without a ServerName the name is the address's host, and an IP address is a
// name like any other.
func TestADialerTakesTheNameFromTheAddress(t *testing.T) {
	s := newSite(t, setup{names: []string{"localhost", "127.0.0.1"}})
	_, port := splitAddr(t, s.Addr)
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.Scope("tenant"), s.with(named("")))
	e.full(t, "localhost:"+port)
	e.full(t, "127.0.0.1:"+port)
	require.Zero(t, s.Identities.Counts().Offered)

	e.resumed(t, "localhost:"+port)
	require.NotNil(t, e.Get0Session("localhost:"+port))
	require.NotNil(t, e.Get0Session("127.0.0.1:"+port))
	require.Equal(t, "127.0.0.1", e.Get0Session("127.0.0.1:"+port).Info().ServerName)
	requireNoReuse(t, s.Identities)
}

func TestAnExactSessionIsRefusedUnderAnotherName(t *testing.T) {
	s := newSite(t, setup{names: []string{aTest, bTest}})
	c := newCache(t, new(resume.ClientCache))
	scope := c.Scope("tenant")
	a := dialed(scope, s.with(named(aTest)))
	a.full(t, s.Addr)
	session := a.Get1Session(a.key(s.Addr))
	defer session.Release()
	// The same pointer but for the name, and no ServerName at all.
	for _, config := range []*tls.Config{s.with(named(bTest)), s.with(named(""))} {
		_, err := (&resume.Dialer{Scope: scope, Config: config, Session: session}).Dial("tcp", s.Addr)
		require.ErrorIs(t, err, resume.ErrOtherScope)
	}
	_, err := (&resume.Dialer{Scope: c.Scope("other"), Config: a.config, Session: session}).Dial("tcp", s.Addr)
	require.ErrorIs(t, err, resume.ErrOtherScope)
	require.Equal(t, 1, s.Identities.Counts().Connections, "refused before anything was sent")
	require.Equal(t, resume.Resumable, session.Status())
}

// Two ports of one name are two servers to a Dialer, as often as not, and may
// be one to who knows better (an FTPS data connection).
func TestAnotherPortIsTheCallersToAllow(t *testing.T) {
	s := newSite(t, setup{server: newKeys})
	second := serve(t, tlstest.Options{Config: s.server, Identities: s.Identities})
	c := newCache(t, new(resume.ClientCache))
	e := dialed(c.Scope("tenant"), s.client)
	e.full(t, s.Addr)
	e.full(t, second.Addr)
	require.Zero(t, s.Identities.Counts().Offered)

	session := e.Get1Session(e.key(s.Addr))
	defer session.Release()
	d := &resume.Dialer{Scope: e.scope, Config: s.client, Session: session}
	conn, err := d.Dial("tcp", second.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.True(t, conn.ConnectionState().DidResume)
	require.Equal(t, resume.Used, session.Status())
	require.NoError(t, talk(conn))
	require.True(t, conn.Get0Session().Same(e.Get0Session(e.key(second.Addr))), "found where it was received")
	requireNoReuse(t, s.Identities)
}

// Every other way goes by crypto/tls's key (rule T4), which has no port.
func TestPluggedInAPortMakesNoDifference(t *testing.T) {
	for _, w := range ways {
		if w.name == "Dialer" {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{server: newKeys})
			second := serve(t, tlstest.Options{Config: s.server, Identities: s.Identities})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			e.full(t, s.Addr)
			e.resumed(t, second.Addr)
			e.resumed(t, s.Addr)
			requireNoReuse(t, s.Identities)
		})
	}
}
