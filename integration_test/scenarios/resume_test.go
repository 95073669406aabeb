package scenarios_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// test_multi_resume: one connection after the other, each resumed with the
// session of the one before.
func TestThirtyConnectionsResumeEachFromTheOneBefore(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newGo(t, func(c *tls.Config) { c.MaxVersion = version })
			c := checkBooks(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			var before *resume.Session
			for i := range 30 {
				conn := p.connect(t, exactly(d, before))
				require.Equal(t, before != nil, conn.ConnectionState().DidResume, "connection %d", i+1)
				session := conn.Get1Session()
				require.False(t, session.Same(before))
				require.Equal(t, version, session.Info().Version)
				require.NoError(t, conn.Close())
				if before != nil {
					require.True(t, session.Info().FullHandshake.Equal(before.Info().FullHandshake), "one chain")
					before.Release()
				}
				before = session
			}
			before.Release()
			p.requireOffered(t, 29)
		})
	}
}

// test_multi_resume, at the same time: a session in use is nobody else's.
// OpenSSL lets the application do that, and both connections offer one ticket.
func TestASessionInUseIsRefusedToWhoDialsWithItToo(t *testing.T) {
	var hellos atomic.Int32
	arrived, goOn := make(chan struct{}), make(chan struct{})
	p := newGo(t, func(c *tls.Config) {
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if hellos.Add(1) == 2 {
				close(arrived)
				<-goOn
			}
			return nil, nil
		}
	})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	c, heard := listen(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
	require.False(t, p.visit(t, d))
	session := heard.sessions()[0]

	var one errgroup.Group
	one.Go(func() error {
		conn, err := exactly(d, session).DialContext(t.Context(), "tcp", p.addr)
		if err != nil {
			return err
		}
		if !conn.ConnectionState().DidResume {
			err = errors.New("not resumed")
		}
		return errors.Join(err, conn.Close())
	})
	<-arrived
	require.Equal(t, resume.Used, session.Status())
	require.Equal(t, "leased", session.Reason())
	p.refuses(t, d, session, resume.Used)
	require.False(t, p.visit(t, d), "neither is it the cache's to give")
	release()
	require.NoError(t, one.Wait())
	require.Equal(t, "used", session.Reason())
	p.refuses(t, d, session, resume.Used)
	require.EqualValues(t, 3, hellos.Load(), "who was refused sent nothing")
	p.requireOffered(t, 1)
}

// The same where all come at the same moment: they have connected before anyone
// claims the session, and one gets it.
func TestOfAllWhoDialWithASessionOneResumes(t *testing.T) {
	const rounds, crowd = 40, 8
	p := newGo(t)
	c := checkBooks(t, new(resume.ClientCache))
	for round := range rounds {
		d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
		conn := p.connect(t, d)
		session := conn.Get1Session()
		require.NoError(t, conn.Close())

		var gathered sync.WaitGroup
		gathered.Add(crowd)
		together := exactly(d, session)
		together.NetDialer = &net.Dialer{Control: func(string, string, syscall.RawConn) error {
			gathered.Done()
			gathered.Wait()
			return nil
		}}
		var resumed, refused atomic.Int32
		var all errgroup.Group
		for range crowd {
			all.Go(func() error {
				conn, err := together.DialContext(t.Context(), "tcp", p.addr)
				switch {
				case errors.Is(err, resume.ErrNotResumable):
					refused.Add(1)
					return nil
				case err != nil:
					return err
				case conn.ConnectionState().DidResume:
					resumed.Add(1)
				}
				return conn.Close()
			})
		}
		require.NoError(t, all.Wait())
		session.Release()
		require.EqualValues(t, 1, resumed.Load())
		require.EqualValues(t, crowd-1, refused.Load())
		p.requireOffered(t, round+1)
	}
}

// The same with handshakes of crypto/tls, which ask for the session at one
// moment as nearly as two processors can.
func TestOfTwoHandshakesThatAskForASessionAtOnceOneResumes(t *testing.T) {
	const rounds = 200
	p := newGo(t)
	c := checkBooks(t, new(resume.ClientCache))
	for round := range rounds {
		d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
		conn := p.connect(t, d)
		session := conn.Get1Session()
		require.NoError(t, conn.Close())

		cache := &both{ClientSessionCache: session.ClientSessionCache()}
		config := p.with(func(c *tls.Config) { c.ClientSessionCache = cache })
		var resumed atomic.Int32
		var all errgroup.Group
		for range 2 {
			all.Go(func() error {
				conn, err := tls.Dial("tcp", p.addr, config)
				if err != nil {
					return err
				}
				if conn.ConnectionState().DidResume {
					resumed.Add(1)
				}
				return conn.Close()
			})
		}
		require.NoError(t, all.Wait())
		session.Release()
		require.EqualValues(t, 1, resumed.Load())
		p.requireOffered(t, round+1)
	}
}

// A both is a cache that answers two handshakes at once.
type both struct {
	tls.ClientSessionCache
	asking atomic.Int32
}

func (b *both) Get(key string) (*tls.ClientSessionState, bool) {
	b.asking.Add(1)
	for b.asking.Load() < 2 { // to block and be woken would set them apart
	}
	return b.ClientSessionCache.Get(key)
}

// test_servername, with the names of one certificate. OpenSSL leaves it to the
// application under what name a session is used again. Ours is found and taken
// under its own alone (rule N6), and says it to the server.
func TestASessionResumesUnderItsOwnServerNameOnly(t *testing.T) {
	const a, b = "a.test", "b.test"
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			names := make(chan string, 100)
			base := newPeer(a)
			run, err := tlstest.NewServer(tlstest.Options{Config: &tls.Config{
				Certificates: []tls.Certificate{base.issue(a, b)}, MaxVersion: version,
				GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					names <- hello.ServerName
					return nil, nil
				},
			}})
			require.NoError(t, err)
			t.Cleanup(run.Close)
			base.addr, base.seen = run.Addr, run.Identities
			c, heard := listen(t, new(resume.ClientCache))
			as := &resume.Dialer{Scope: c.NewScope(), Config: base.client}
			bs := &resume.Dialer{Scope: as.Scope, Config: base.with(func(c *tls.Config) { c.ServerName = b })}

			require.False(t, base.visit(t, as))
			require.False(t, base.visit(t, bs))
			session := heard.sessions()[0]
			require.Equal(t, a, session.Info().ServerName)
			_, err = exactly(bs, session).DialContext(t.Context(), "tcp", base.addr)
			require.ErrorIs(t, err, resume.ErrOtherScope)
			require.True(t, session.Resumable())
			base.requireOffered(t, 0)

			require.True(t, base.visit(t, exactly(as, session)))
			require.True(t, base.visit(t, bs))
			require.True(t, base.visit(t, as))
			base.requireOffered(t, 3)
			close(names)
			var said []string
			for name := range names {
				said = append(said, name)
			}
			require.Equal(t, []string{a, b, a, b, a}, said)
		})
	}
}

// rustls, test_tls13_client_resumption_does_not_reuse_tickets: five tickets,
// and five connections that are not finished, as somebody makes who does not
// know which will get through. None of them shares a ticket, and the sixth has
// none.
func TestFiveUnfinishedDialsHoldFiveTicketsAndTheSixthIsFull(t *testing.T) {
	for _, w := range ways {
		inBubble(t, w.name, func(t *testing.T, m *memory) {
			const tickets = 5
			c, heard := listen(t, new(resume.ClientCache))
			way := w.open(c, m)
			first, server := m.connect(t, way)
			for range tickets - 1 {
				server.ticket(t, day)
			}
			require.Empty(t, hear(t, first))
			first.Close()
			heard.requireCalls(t, tickets, 0)

			answers := make(chan struct{})
			answer := sync.OnceFunc(func() { close(answers) })
			t.Cleanup(answer)
			var dials errgroup.Group
			for range tickets {
				conn := way(&held{m.open(t), answers})
				dials.Go(func() error {
					if err := conn.Handshake(); err != nil || conn.ConnectionState().DidResume {
						return err
					}
					return errors.New("not resumed")
				})
			}
			synctest.Wait() // the server has answered all of them
			m.requireOffered(t, tickets)
			for _, s := range heard.sessions() {
				require.Equal(t, resume.Used, s.Status())
			}
			require.False(t, m.visit(t, way), "the sixth")
			m.requireOffered(t, tickets)

			answer()
			require.NoError(t, dials.Wait())
			heard.requireCalls(t, 0, tickets)
			require.EqualValues(t, tickets, c.Stats().Used)
			m.requireOffered(t, tickets)
		})
	}
}

// A held is a connection whose answers do not get through for a while.
type held struct {
	net.Conn
	answers <-chan struct{}
}

func (h *held) Read(b []byte) (int, error) {
	<-h.answers
	return h.Conn.Read(b)
}

// rustls, client_only_attempts_resumption_with_compatible_security: what a
// scope can see of a configuration, and another scope, keep sessions apart. The
// configuration that they belong to goes on with them.
func TestAChangedConfigurationMakesAFullHandshake(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*memory, *tls.Config)
	}{
		{"a client certificate", func(m *memory, c *tls.Config) {
			c.Certificates = []tls.Certificate{tlstest.Must(m.ca.Issue(tlstest.Leaf{Names: []string{"me"}, Client: true}))}
		}},
		{"a certificate hook", func(_ *memory, c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return new(tls.Certificate), nil
			}
		}},
		{"no verification", func(_ *memory, c *tls.Config) { c.InsecureSkipVerify = true }},
		{"a verification hook", func(_ *memory, c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error { return nil }
		}},
		{"another range of versions", func(_ *memory, c *tls.Config) { c.MinVersion = tls.VersionTLS13 }},
		{"nothing but the scope", nil},
	} {
		inBubble(t, row.name, func(t *testing.T, m *memory) {
			c, heard := listen(t, new(resume.ClientCache))
			scope := c.NewScope()
			base, other := bound(scope, m.client), bound(c.NewScope(), m.client)
			if row.change != nil {
				other = bound(scope, m.with(func(c *tls.Config) { row.change(m, c) }))
			}
			for _, way := range []func(net.Conn) client{base, other} {
				conn, _ := m.connect(t, way)
				require.False(t, conn.ConnectionState().DidResume)
				require.Empty(t, hear(t, conn))
				conn.Close()
			}
			m.requireOffered(t, 0)
			heard.requireCalls(t, 2, 0)
			m.requireLeft(t, base, 1)
			m.requireLeft(t, other, 1)
			m.requireOffered(t, 2)
		})
	}
}
