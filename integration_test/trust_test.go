package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// otherRoots trusts a CA that looks like the site's, but for its key.
func otherRoots(c *tls.Config) { c.RootCAs = tlstest.Must(tlstest.NewCA("root")).Pool() }

// refuse makes a connection that must fail as untrusted.
func (e entry) refuse(t testing.TB, addr string) {
	t.Helper()
	_, err := e.visit(addr)
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
}

// tlsConfig is a configuration of ClientCache.TLSConfig.
func tlsConfig(c *resume.ClientCache, base *tls.Config) entry {
	return inScope["TLSConfig"](c.NewScope(), base)
}

// Two configurations through TLSConfig on one cache, which differ in what has
// no identity. The second fails on its own account, with a full handshake, and
// takes nothing from the first.
func TestConfigurationsOfTLSConfigShareNothing(t *testing.T) {
	refused := errors.New("refused by a hook")
	for _, other := range []struct {
		what   string
		change func(*tls.Config)
	}{
		{"roots", otherRoots},
		{"VerifyPeerCertificate", func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return refused }
		}},
		{"VerifyConnection", func(c *tls.Config) {
			c.VerifyConnection = func(cs tls.ConnectionState) error {
				if cs.DidResume {
					return nil // so that a session of the other would pass
				}
				return refused
			}
		}},
	} {
		t.Run(other.what, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			lenient := func([][]byte, [][]*x509.Certificate) error { return nil }
			ours := tlsConfig(c, s.with(func(c *tls.Config) {
				// The presence of hooks does not tell the two apart.
				c.VerifyPeerCertificate = lenient
				c.VerifyConnection = func(tls.ConnectionState) error { return nil }
			}))
			theirs := tlsConfig(c, s.with(func(c *tls.Config) {
				c.VerifyPeerCertificate = lenient
				other.change(c)
			}))
			ours.full(t, s.Addr)

			for range 3 {
				_, err := theirs.visit(s.Addr)
				require.Error(t, err)
			}
			assert.Zero(t, s.Identities.Counts().Offered, "nothing was offered for the other")
			ours.resumed(t, s.Addr)
			requireNoReuse(t, s.Identities)
		})
	}
}

// Rule T6: a configuration that does not trust the server is told so by
// crypto/tls after Get, and Put(key, nil) follows.
func TestANilPutTakesNoTicketFromOthers(t *testing.T) {
	s := newSite(t, setup{})
	for _, name := range []string{"NewConn", "Dialer"} {
		t.Run(name, func(t *testing.T) {
			c, heard := listen(t, new(resume.ClientCache))
			scope := c.Scope("tenant") // the caller's word, and it is wrong
			ours, theirs := inScope[name](scope, s.client), inScope[name](scope, s.with(otherRoots))
			ours.full(t, s.Addr)
			only := ours.Get1Session(ours.key(s.Addr))
			defer only.Release()

			for range 3 {
				theirs.refuse(t, s.Addr)
				require.Equal(t, resume.Resumable, only.Status(), "not offered, so given back")
			}
			assert.Equal(t, 3, heard.count(resume.SessionReturned))
			ours.resumed(t, s.Addr)
			require.Equal(t, resume.Used, only.Status())
		})
	}
	t.Run("plugged", func(t *testing.T) {
		c := newCache(t, new(resume.ClientCache))
		ours, theirs := plugged(s.client, c, c), plugged(s.with(otherRoots), c, c)
		conns := []client{ours.connect(t, s.Addr), ours.connect(t, s.Addr), ours.connect(t, s.Addr)}
		for _, conn := range conns {
			require.NoError(t, talk(conn))
		}
		theirs.refuse(t, s.Addr)
		// What it was given is lost. The nil names none of the other two.
		require.True(t, ours.glance(t, s.Addr))
		require.True(t, ours.glance(t, s.Addr))
		require.False(t, ours.glance(t, s.Addr))
	})
	requireNoReuse(t, s.Identities)
}

// In a named scope the presence of a hook is seen, so that a strict
// configuration does not resume what was not checked so strictly.
func TestAStricterHookIsNotBypassedInANamedScope(t *testing.T) {
	for name, open := range inScope {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			scope := c.Scope("tenant")
			var ran atomic.Int64
			plain := open(scope, s.client)
			strict := open(scope, s.with(func(c *tls.Config) {
				c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
					ran.Add(1)
					return errors.New("refused by a hook")
				}
			}))
			plain.full(t, s.Addr)
			for range 3 {
				_, err := strict.visit(s.Addr)
				require.ErrorContains(t, err, "refused by a hook")
			}
			assert.EqualValues(t, 3, ran.Load())
			assert.Zero(t, s.Identities.Counts().Offered)
			plain.resumed(t, s.Addr)
		})
	}
}

// A configuration that checks nothing leaves nothing for one that does.
func TestAnUnverifiedSessionIsNotOfferedWithVerification(t *testing.T) {
	for name, open := range inScope {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			scope := c.Scope("tenant")
			blind := open(scope, s.with(func(c *tls.Config) { c.InsecureSkipVerify, c.RootCAs = true, nil }))
			strict := open(scope, s.with(otherRoots))
			blind.full(t, s.Addr)
			strict.refuse(t, s.Addr)
			assert.Zero(t, s.Identities.Counts().Offered)
			blind.resumed(t, s.Addr)
		})
	}
}

// The hook of the caller runs before anything is counted, and once for each
// handshake.
func TestTheCallersVerifyConnectionStillRuns(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			var full, resumed atomic.Int64
			var refuse atomic.Bool
			e := w.open(c, s.with(func(c *tls.Config) {
				c.VerifyConnection = func(cs tls.ConnectionState) error {
					switch {
					case refuse.Load():
						return errors.New("refused by a hook")
					case cs.DidResume:
						resumed.Add(1)
					default:
						full.Add(1)
					}
					return nil
				}
			}))
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)
			require.EqualValues(t, 1, full.Load())
			require.EqualValues(t, 1, resumed.Load())

			refuse.Store(true)
			counted := c.Stats()
			_, err := e.visit(s.Addr)
			require.ErrorContains(t, err, "refused by a hook")
			require.Equal(t, counted.Full+counted.Resumed, c.Stats().Full+c.Stats().Resumed)
			refuse.Store(false)
			e.full(t, s.Addr) // the ticket went out with the connection that was refused
			requireNoReuse(t, s.Identities)
		})
	}
}
