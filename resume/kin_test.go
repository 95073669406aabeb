package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/ticket"
)

// What is taken over from the session that a connection was resumed with is
// what the new session says of itself, down to its length.
func TestKinSaysWhatInspectSays(t *testing.T) {
	for name, change := range map[string]func(server, client *tls.Config){
		"plain": func(_, _ *tls.Config) {},
		"staple and timestamps": func(c, _ *tls.Config) {
			c.Certificates[0].OCSPStaple = []byte("a staple")
			c.Certificates[0].SignedCertificateTimestamps = [][]byte{[]byte("one"), []byte("another")}
		},
		"chain of many": func(c, _ *tls.Config) {
			for range 299 {
				c.Certificates[0].Certificate = append(c.Certificates[0].Certificate, c.Certificates[0].Certificate[0])
			}
		},
		"ALPN":    func(c, _ *tls.Config) { c.NextProtos = []string{"h2"} },
		"TLS 1.2": tls12,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, change)
			p.client.NextProtos = []string{"h2"}
			scope := new(ClientCache).NewScope()
			known := 0
			for turn := range 4 {
				conn := p.bound(t, scope, true)
				require.Equal(t, turn > 0, conn.ConnectionState().DidResume)
				got, want := conn.Get0Session().Info(), inspected(t, conn)
				want.Received, want.Expires, want.FullHandshake = got.Received, got.Expires, got.FullHandshake
				want.ServerName, want.Endpoint, want.ALPN = got.ServerName, got.Endpoint, got.ALPN
				require.Equal(t, want, got)
				if conn.facts.kin.parent != nil {
					known++
				}
				require.Nil(t, conn.room.state, "nor does the connection keep the secret of a session that is used")
				conn.Close()
			}
			if name != "TLS 1.2" {
				require.Equal(t, 3, known)
			}
		})
	}
}

// What this layer and others have added to a session is not part of the one that
// follows it (rule T12), nor of its length.
func TestEntriesOfLayersAreNotInherited(t *testing.T) {
	for name, first := range map[string]func(*testing.T, *peer, *fleet){
		"our mark, out of the store": func(t *testing.T, p *peer, f *fleet) {
			c := f.cache(t)
			require.False(t, resumes(t, p, c.Scope("tenant")))
			flush(t, c)
		},
		"another's": func(t *testing.T, p *peer, f *fleet) {
			c := f.cache(t)
			cs := p.states(t, 1)[0]
			_, state, err := cs.ResumptionState()
			require.NoError(t, err)
			state.Extra = append(state.Extra, []byte("another layer's"))
			c.Scope("tenant").TLSConfig(p.client).ClientSessionCache.Put(serverName, cs)
			flush(t, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, f := newPeer(t), newFleet()
				first(t, p, f)
				conn := p.bound(t, f.cache(t).Scope("tenant"), true)
				require.True(t, conn.ConnectionState().DidResume)
				require.Equal(t, inspected(t, conn).Size, conn.Get0Session().Info().Size)
				require.Positive(t, conn.facts.kin.size)
			})
		})
	}
}

// inspected is what the session that a connection received says of itself, but
// for our mark.
func inspected(t *testing.T, conn *Conn) ticket.Info {
	t.Helper()
	ticketBytes, state, err := conn.Get0Session().s.state.Load().ResumptionState()
	require.NoError(t, err)
	bare := *state
	bare.Extra = nil
	info, err := ticket.Inspect(ticketBytes, &bare)
	require.NoError(t, err)
	return info
}

// What is out of the ordinary is inspected: a full handshake, a version before
// TLS 1.3, a session with early data, whose encoding is longer, and one of which
// nothing could be read.
func TestOnlyWhatIsOrdinaryIsInherited(t *testing.T) {
	p := newPeer(t)
	conn := p.bound(t, new(ClientCache).NewScope(), true)
	ticketBytes, state, err := conn.Get0Session().s.state.Load().ResumptionState()
	require.NoError(t, err)
	fresh := *state
	fresh.Extra = nil
	for why, row := range map[string]struct {
		change   func(*facts)
		inherits bool
	}{
		"ordinary":   {func(*facts) {}, true},
		"full":       {func(f *facts) { f.kin = kin{} }, false},
		"TLS 1.2":    {func(f *facts) { f.version = tls.VersionTLS12 }, false},
		"early data": {func(f *facts) { f.kin.parent.flags |= earlyData }, false},
		"unreadable": {func(f *facts) { f.kin.parent.certificates = 0 }, false},
	} {
		parent := conn.domain.core.newSession(conn.key(), used)
		parent.certificates = 1
		o := &origin{key: conn.key(), facts: facts{version: tls.VersionTLS13, kin: kin{parent, 100}}}
		row.change(&o.facts)
		s := conn.domain.core.newSession(conn.key(), live)
		require.Equal(t, row.inherits, s.inherit(o, ticketBytes, &fresh, time.Now()), why)
	}
}

// A name or a protocol that the one before did not have is the new one's own.
func TestNamesAreNotInherited(t *testing.T) {
	conn := newPeer(t).bound(t, new(ClientCache).NewScope(), true)
	ticketBytes, state, err := conn.Get0Session().s.state.Load().ResumptionState()
	require.NoError(t, err)
	fresh := *state
	fresh.Extra = nil
	for _, name := range []string{serverName, "another.test"} {
		for _, alpn := range []string{"", "h2"} {
			parent := conn.domain.core.newSession(conn.key(), used)
			parent.certificates = 1
			o := &origin{
				key: conn.key(), serverName: name,
				facts: facts{version: tls.VersionTLS13, alpn: alpn, kin: kin{parent, 100}},
			}
			s := conn.domain.core.newSession(conn.key(), live)
			require.True(t, s.inherit(o, ticketBytes, &fresh, time.Now()))
			require.Equal(t, name, s.info().ServerName)
			require.Equal(t, alpn, s.info().ALPN)
			require.Equal(t, 1, s.info().Certificates)
		}
	}
}
