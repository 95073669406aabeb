package scenarios_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// test_session_with_*_cache, where SSL_set_session over a live connection drops
// the session that it has: its connection was not shut down, so it is bad. Here
// the raw connection is closed underneath. We differ in that a connection may
// have received several sessions, and loses all of them.
func TestAConnectionClosedUnderneathMakesItsSessionsBad(t *testing.T) {
	for _, k := range tolls {
		t.Run(k.name, func(t *testing.T) {
			p := newOpenSSL(t, k.args...)
			c, heard := listen(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			conn := p.connect(t, d)
			heard.requireCalls(t, k.fresh, 0)

			require.NoError(t, conn.NetConn().Close())
			require.Error(t, conn.Close())
			heard.requireCalls(t, 0, k.fresh)
			for _, s := range heard.sessions() {
				require.Equal(t, resume.Failed, s.Status())
				require.Equal(t, "unclean", s.Reason())
				require.False(t, s.Resumable())
				p.refuses(t, d, s, resume.Failed)
			}
			require.False(t, p.visit(t, d))
			p.requireOffered(t, 0)
			require.True(t, p.visit(t, d), "that one was closed as it should be")
			p.requireOffered(t, 1)
		})
	}
}

// The same of a connection that was resumed: in TLS 1.3 the session it was
// resumed with is used anyway, and those of others are left alone; in TLS 1.2
// it would be used again, and is bad.
func TestAResumedConnectionClosedUnderneathMakesItsSessionBad(t *testing.T) {
	for _, k := range tolls {
		t.Run(k.name, func(t *testing.T) {
			p := newOpenSSL(t, k.args...)
			c, heard := listen(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			require.False(t, p.visit(t, d))
			heard.requireCalls(t, k.fresh, 0)
			conn := p.connect(t, d)
			require.True(t, conn.ConnectionState().DidResume)
			heard.requireCalls(t, k.again, k.usedUp)

			require.NoError(t, conn.NetConn().Close())
			require.Error(t, conn.Close())
			heard.requireCalls(t, 0, 1)
			all := heard.sessions()
			require.Equal(t, resume.Failed, all[len(all)-1].Status())
			others := k.fresh - 1 // of the first connection
			for range others {
				require.True(t, p.visit(t, exactly(d, all[0])))
			}
			p.requireOffered(t, 1+others)
		})
	}
}

// test_session_with_*_cache with a server whose version has changed, and of
// rustls test_client_tls12_no_resume_after_server_downgrade. OpenSSL's client
// fails the handshake and drops the session. Ours offers whatever the server
// may speak: what follows is a full handshake, and the session that the server
// took no notice of is not offered again.
func TestASessionOfAnotherVersionCostsAFullHandshakeAndIsGone(t *testing.T) {
	for _, row := range []struct {
		name     string
		from, to uint16
		end      string
		usedUp   int // by the resumption after
	}{
		{"down", tls.VersionTLS13, tls.VersionTLS12, "Used: used", 0},
		{"up", tls.VersionTLS12, tls.VersionTLS13, "Failed: refused", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newGo(t, func(c *tls.Config) {
				c.MaxVersion = row.from
				c.SetSessionTicketKeys([][32]byte{{1}}) // they stay
			})
			p.throughProxy(t, p.run.Addr, 1)
			c, heard := listen(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			require.False(t, p.visit(t, d))
			heard.requireCalls(t, 1, 0)
			old := heard.sessions()[0]
			require.Equal(t, row.from, old.Info().Version)

			p.restart(t, func(c *tls.Config) { c.MaxVersion = row.to })
			require.False(t, p.visit(t, exactly(d, old)), "and no error")
			heard.requireCalls(t, 1, 1)
			require.Equal(t, []string{row.end}, heard.ended())
			require.Equal(t, row.to, heard.sessions()[1].Info().Version)
			p.refuses(t, d, old, old.Status())
			p.requireOffered(t, 1)

			require.True(t, p.visit(t, d))
			heard.requireCalls(t, 1, row.usedUp)
			p.requireOffered(t, 2)
		})
	}
}
