package scenarios_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

// test_stateless_tickets and test_stateful_tickets, with 0, 1 and 2 tickets.
// Theirs ask for the client's certificate after the handshake, too, and get
// tickets for that; clients of crypto/tls do not offer it.
func TestEveryTicketResumesOnceAndBringsOneMore(t *testing.T) {
	for _, kind := range []struct {
		name string
		args []string
	}{
		{"stateless", nil},
		{"stateful", []string{"-no_ticket"}}, // what is sent names a session that the server keeps
	} {
		for n := range 3 {
			t.Run(fmt.Sprint(kind.name, " ", n), func(t *testing.T) {
				everyTicketResumes(t, newOpenSSL(t, append(kind.args, "-num_tickets", fmt.Sprint(n))...), n)
			})
		}
	}
}

func everyTicketResumes(t *testing.T, p *peer, n int) {
	c, heard := listen(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
	require.False(t, p.visit(t, d))
	heard.requireCalls(t, n, 0)
	for range 2 * n { // those of the full handshake, and those that they bring
		oldest := heard.sessions()[len(heard.ended())]
		require.True(t, oldest.Resumable())
		require.True(t, p.visit(t, exactly(d, oldest)))
		heard.requireCalls(t, 1, 1)
		require.Equal(t, resume.Used, oldest.Status())
	}
	p.requireOffered(t, 2*n)
	for _, s := range heard.sessions()[:2*n] {
		p.refuses(t, d, s, resume.Used)
	}
	for range n {
		require.True(t, p.visit(t, d))
	}
	require.EqualValues(t, 3*n, c.Stats().Used)
	if n == 0 {
		require.False(t, p.visit(t, d))
	}
	p.requireOffered(t, 3*n)
}

// The three ways in, over any connection.
var ways = []struct {
	name string
	open func(*resume.ClientCache, *memory) func(net.Conn) client
}{
	{"ClientCache", func(c *resume.ClientCache, m *memory) func(net.Conn) client {
		config := m.with(func(config *tls.Config) { config.ClientSessionCache = c })
		return func(raw net.Conn) client { return tls.Client(raw, config) }
	}},
	{"TLSConfig", func(c *resume.ClientCache, m *memory) func(net.Conn) client {
		config := c.TLSConfig(m.client)
		return func(raw net.Conn) client { return tls.Client(raw, config) }
	}},
	{"NewConn", func(c *resume.ClientCache, m *memory) func(net.Conn) client {
		return bound(c.NewScope(), m.client)
	}},
}

func bound(scope *resume.Scope, config *tls.Config) func(net.Conn) client {
	return func(raw net.Conn) client { return scope.NewConn(raw, config) }
}

// inBubble is a test in a synctest bubble, against a server in memory.
func inBubble(t *testing.T, name string, test func(*testing.T, *memory)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			test(t, newMemory(host, time.Now().Add(30*day)))
		})
	})
}

// test_extra_tickets: a server sends further tickets whenever it likes, alone
// or between application data. Each is a session like the first, and arrives
// with whatever read meets it.
func TestTicketsThatComeLaterResumeOnceEach(t *testing.T) {
	for _, w := range ways {
		inBubble(t, w.name, func(t *testing.T, m *memory) {
			c, heard := listen(t, new(resume.ClientCache))
			way := w.open(c, m)
			conn, server := m.connect(t, way)
			heard.requireCalls(t, 0, 0)
			server.say(t, "hello")
			require.Equal(t, "hello", hear(t, conn))
			heard.requireCalls(t, 1, 0) // of the handshake

			time.Sleep(day)
			server.ticket(t, day)
			server.ticket(t, day)
			synctest.Wait()
			heard.requireCalls(t, 0, 0) // rule T1: nobody has read
			require.Empty(t, hear(t, conn))
			heard.requireCalls(t, 2, 0)

			time.Sleep(time.Hour)
			server.say(t, "an")
			server.ticket(t, day)
			server.say(t, "swer")
			require.Equal(t, "answer", hear(t, conn))
			heard.requireCalls(t, 1, 0)

			all := heard.sessions()
			if known, ok := conn.(*resume.Conn); ok {
				require.True(t, known.Get0Session().Same(all[3]), "the last")
			}
			ids := make(map[string]bool)
			for _, s := range all {
				require.Equal(t, resume.Resumable, s.Status())
				ids[s.Info().ID] = true
			}
			require.Len(t, ids, 4)
			conn.Close()
			m.requireLeft(t, way, 4)
			heard.requireCalls(t, 0, 4)
			m.requireOffered(t, 4)
		})
	}
}

// The same with WaitSession, which is over when one has come and reads for no
// other.
func TestWaitSessionReturnsTheLastThatHasCome(t *testing.T) {
	inBubble(t, "NewConn", func(t *testing.T, m *memory) {
		c, heard := listen(t, new(resume.ClientCache))
		way := bound(c.NewScope(), m.client)
		raw, server := m.connect(t, way)
		conn := raw.(*resume.Conn)
		first, err := conn.WaitSession(t.Context())
		require.NoError(t, err)
		require.True(t, first.Same(heard.sessions()[0]))
		server.ticket(t, day)
		again, err := conn.WaitSession(t.Context())
		require.NoError(t, err)
		require.True(t, again.Same(first), "it does not read for another")
		require.Empty(t, hear(t, conn))
		later, err := conn.WaitSession(t.Context())
		require.NoError(t, err)
		require.True(t, later.Same(heard.sessions()[1]))
		require.NoError(t, conn.Close())
		m.requireLeft(t, way, 2)
		m.requireOffered(t, 2)
	})
}

// BoringSSL: who has sent close_notify takes no notice of a ticket that comes
// after it. That is our Close, also when a Read is still under way.
func TestATicketAfterCloseIsIgnored(t *testing.T) {
	inBubble(t, "nobody reads", func(t *testing.T, m *memory) {
		c, heard := listen(t, new(resume.ClientCache))
		way := bound(c.NewScope(), m.client)
		conn, server := m.connect(t, way)
		require.NoError(t, conn.Close())
		heard.requireCalls(t, 1, 0) // what had arrived before
		<-server.left
		server.ticket(t, day)
		server.end(t)
		synctest.Wait()
		heard.requireCalls(t, 0, 0)
		m.requireLeft(t, way, 1)
		m.requireOffered(t, 1)
	})
	inBubble(t, "a Read under way", func(t *testing.T, m *memory) {
		c, heard := listen(t, new(resume.ClientCache))
		scope := c.NewScope()
		raw := &slow{Conn: m.open(t)}
		conn := scope.NewConn(raw, m.client)
		require.NoError(t, conn.Handshake())
		server := <-m.scribes
		require.Empty(t, hear(t, conn))
		heard.requireCalls(t, 1, 0)
		var reader sync.WaitGroup
		reader.Go(func() { conn.Read(make([]byte, 1)) })
		synctest.Wait()
		require.NoError(t, conn.Close())
		server.ticket(t, day) // the Read gets it
		synctest.Wait()
		raw.Conn.Close()
		reader.Wait()
		heard.requireCalls(t, 0, 0)
		m.requireLeft(t, bound(scope, m.client), 1)
		m.requireOffered(t, 1)
	})
}

// A slow is a connection whose Close takes its time to reach a blocked Read.
type slow struct{ net.Conn }

func (*slow) Close() error { return nil }

// And it is not our Shutdown, which sends close_notify and then reads to the
// end for this very purpose.
func TestATicketAfterTheCloseNotifyOfShutdownIsCollected(t *testing.T) {
	inBubble(t, "Shutdown", func(t *testing.T, m *memory) {
		c, heard := listen(t, new(resume.ClientCache))
		way := bound(c.NewScope(), m.client)
		conn, server := m.connect(t, way)
		var ending errgroup.Group
		ending.Go(func() error { return conn.(*resume.Conn).Shutdown(t.Context()) })
		<-server.left
		time.Sleep(time.Hour)
		server.ticket(t, day)
		server.end(t)
		require.NoError(t, ending.Wait())
		heard.requireCalls(t, 2, 0)
		m.requireLeft(t, way, 2)
		m.requireOffered(t, 2)
	})
}

// BoringSSL, and SSL_SESSION_is_resumable of OpenSSL: a TLS 1.3 session that no
// ticket came for is an object that can be looked at, and no more.
func TestASessionWithoutATicketIsNotResumable(t *testing.T) {
	for _, d := range []struct {
		name   string
		change func(*tls.Config)
	}{
		{"the server sends none", func(c *tls.Config) { c.SessionTicketsDisabled = true }},
		{"nobody has read it", func(*tls.Config) {}},
	} {
		t.Run(d.name, func(t *testing.T) {
			p := newGo(t, d.change)
			c, heard := listen(t, new(resume.ClientCache))
			dialer := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			conn, err := dialer.DialContext(t.Context(), "tcp", p.addr)
			require.NoError(t, err)
			defer conn.Close()
			session := conn.Get1Session()
			defer session.Release()
			require.Equal(t, resume.Pending, session.Status())
			require.Equal(t, "no-ticket", session.Reason())
			require.False(t, session.Resumable())
			require.EqualValues(t, tls.VersionTLS13, session.Info().Version)
			require.Equal(t, host, session.Info().ServerName)
			require.Empty(t, session.Info().ID)

			p.refuses(t, dialer, session, resume.Pending)
			_, ok := session.ClientSessionCache().Get(host)
			require.False(t, ok)
			require.False(t, c.Remove(session))
			require.NoError(t, conn.NetConn().Close())
			require.False(t, p.visit(t, dialer))
			require.Equal(t, 2, p.seen.Counts().Connections)
			p.requireOffered(t, 0)
			require.Zero(t, heard.ended())
		})
	}
}
