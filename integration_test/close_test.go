package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A reader is a server that reads nothing until the client has closed, and
// then all there is. Its tickets come after the client's Finished.
type reader struct {
	*site
	ready chan struct{} // the handshake is over, and the tickets are sent
	read  chan struct{} // closed: read now
	got   chan int      // how many bytes that were
}

func newReader(t *testing.T, unasked int) *reader {
	r := &reader{ready: make(chan struct{}, 1), read: make(chan struct{}, 1), got: make(chan int, 1)}
	r.site = newSite(t, setup{server: afterwards, handle: func(conn net.Conn) {
		conn.Write(make([]byte, unasked))
		r.ready <- struct{}{}
		<-r.read
		n, _ := io.Copy(io.Discard, conn)
		r.got <- int(n)
	}})
	return r
}

// Much of it does not fit the server's receive buffer: it is still on our side
// when we close.
const written = 4 << 20

// deliver writes, ends the connection and says how much of it arrived.
func (r *reader) deliver(t *testing.T, conn net.Conn, end func() error) int {
	t.Helper()
	conn.SetWriteDeadline(time.Now().Add(patience))
	<-r.ready
	n, err := conn.Write(make([]byte, written))
	require.NoError(t, err)
	require.Equal(t, written, n)
	require.NoError(t, end())
	r.read <- struct{}{}
	return <-r.got
}

// This is what Close is for: a connection that is closed over unread tickets is
// reset, and what was on its way is lost.
func TestClosingOverUnreadTicketsLosesWhatWasWritten(t *testing.T) {
	r := newReader(t, 0)
	for range 3 {
		conn, err := (&tls.Dialer{Config: r.with(func(c *tls.Config) {
			c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		})}).Dial("tcp", r.Addr)
		require.NoError(t, err)
		raw := conn.(*tls.Conn).NetConn().(*net.TCPConn)
		require.NoError(t, raw.SetWriteBuffer(2*written)) // Write returns before it has arrived
		require.Less(t, r.deliver(t, conn, conn.Close), written, "nothing was lost: the test does not test")
	}
}

func TestCloseLosesNothingThatWasWritten(t *testing.T) {
	r := newReader(t, 0)
	c := newCache(t, new(resume.ClientCache))
	e := bound(c.NewScope(), r.client)
	for n := range 3 {
		conn := e.connect(t, r.Addr).(*resume.Conn)
		require.NoError(t, conn.NetConn().(*net.TCPConn).SetWriteBuffer(2*written))
		require.Equal(t, n > 0, conn.ConnectionState().DidResume)
		require.Equal(t, written, r.deliver(t, conn, conn.Close))
	}
	require.EqualValues(t, 3, c.Stats().Captured, "and the tickets came with it")
	requireNoReuse(t, r.Identities)
}

// At a distance Close does not wait for what is still under way. Shutdown does.
func TestShutdownLosesNeitherTicketNorDataAtADistance(t *testing.T) {
	for _, row := range []struct {
		why     string
		delay   time.Duration
		unasked int
	}{
		{"tickets 30 ms late", 30 * time.Millisecond, 0},
		{"tickets 200 ms late", 200 * time.Millisecond, 0},
		{"application data that nobody reads", 30 * time.Millisecond, 300_000},
	} {
		t.Run(row.why, func(t *testing.T) {
			r := newReader(t, row.unasked)
			v := newValve(t, r.Addr)
			c := newCache(t, new(resume.ClientCache))
			e := bound(c.NewScope(), r.client)
			conn := e.connect(t, v.Addr).(*resume.Conn)
			time.AfterFunc(row.delay, v.release)
			go func() { r.read <- struct{}{} }() // it reads while we shut down
			got := r.deliver(t, conn, func() error { return conn.Shutdown(t.Context()) })
			require.Equal(t, written, got)
			require.EqualValues(t, 1, c.Stats().Captured)
			require.ErrorIs(t, conn.Close(), net.ErrClosed, "it is closed")
			_, err := conn.Read(make([]byte, 1))
			require.Error(t, err)
		})
	}
}

// Of ten connections one is closed as soon as its handshake is over.
func TestConnectionsClosedUnreadCostNoResumption(t *testing.T) {
	const connections = 1000
	run := func(t *testing.T, e entry, addr string, seen *tlstest.Identities) {
		random := rand.New(rand.NewPCG(3, 14))
		resumed := 0
		for range connections {
			conn := e.connect(t, addr).(*resume.Conn)
			if conn.ConnectionState().DidResume {
				resumed++
			}
			if random.IntN(10) > 0 {
				require.NoError(t, talk(conn))
			}
			require.NoError(t, conn.Close())
		}
		t.Logf("%d of %d resumed", resumed, connections)
		require.GreaterOrEqual(t, 100*resumed, 99*connections)
		require.Equal(t, resumed, requireNoReuse(t, seen).Offered)
	}
	t.Run("Go", func(t *testing.T) {
		s := newSite(t, setup{})
		run(t, dialed(newCache(t, new(resume.ClientCache)).NewScope(), s.with(onlyP256)), s.Addr, s.Identities)
	})
	t.Run("openssl s_server", func(t *testing.T) {
		server := newOpenSSL(t)
		proxy := server.proxy(t, 1)
		run(t, dialed(newCache(t, new(resume.ClientCache)).NewScope(), server.client), proxy.Addr, proxy.Identities)
	})
}

// inMemory makes a connection over a pipe to a server that sends its tickets
// late, with a latency in each direction. It runs in a synctest bubble.
func inMemory(t *testing.T, c *resume.ClientCache, latency time.Duration, change func(server, client *tls.Config)) (*resume.Conn, net.Conn) {
	ca := tlstest.Must(tlstest.NewCAValid("root", time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	leaf := tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{host}, NotBefore: time.Now().Add(-time.Hour)}))
	server := &tls.Config{Certificates: []tls.Certificate{leaf}}
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host}
	afterwards(server)
	change(server, client)
	near, far := tlstest.Pipe()
	theirs := tls.Server(&distant{far, latency}, server)
	go theirs.Handshake()
	conn := c.NewScope().NewConn(&distant{near, latency}, client)
	require.NoError(t, conn.Handshake())
	return conn, theirs
}

// distant delivers late what is written.
type distant struct {
	net.Conn
	latency time.Duration
}

func (d *distant) Write(b []byte) (int, error) {
	time.Sleep(d.latency)
	return d.Conn.Write(b)
}

func TestCloseWaitsAMomentAndOnlyForTickets(t *testing.T) {
	same := func(_, _ *tls.Config) {}
	for _, row := range []struct {
		why      string
		latency  time.Duration
		change   func(server, client *tls.Config)
		before   func(*testing.T, *resume.Conn)
		waits    time.Duration
		captured int
	}{
		{why: "the ticket is under way", change: same, waits: time.Millisecond, captured: 1},
		{
			why: "none will come, which nobody knows", waits: time.Millisecond,
			change: func(server, _ *tls.Config) { server.SessionTicketsDisabled = true },
		},
		{why: "the server is too far away", latency: 3 * time.Millisecond, change: same},
		{
			why: "a ticket has come", change: same, captured: 1,
			before: func(t *testing.T, conn *resume.Conn) {
				_, err := conn.WaitSession(t.Context())
				require.NoError(t, err)
			},
		},
		{why: "TLS 1.2", change: func(server, _ *tls.Config) { onlyTLS12(server) }, captured: 1},
		{why: "tickets are disabled", change: func(_, client *tls.Config) { client.SessionTicketsDisabled = true }},
		{
			why: "somebody reads", change: func(server, _ *tls.Config) { server.SessionTicketsDisabled = true },
			before: func(_ *testing.T, conn *resume.Conn) {
				go conn.Read(make([]byte, 1))
				synctest.Wait()
			},
		},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := new(resume.ClientCache)
				conn, server := inMemory(t, c, row.latency, row.change)
				defer server.Close()
				if row.before != nil {
					row.before(t, conn)
				}
				began := time.Now()
				conn.Close()
				// Writing close_notify takes the latency, too.
				assert.Equal(t, row.waits, time.Since(began)-row.latency)
				assert.EqualValues(t, row.captured, c.Stats().Captured)
			})
		})
	}
}

func TestShutdownSaysHowThePeerEnded(t *testing.T) {
	clean := func(conn *tls.Conn) { io.Copy(io.Discard, conn) }
	bare := func(conn *tls.Conn) {
		io.Copy(io.Discard, conn)
		conn.NetConn().Close()
	}
	for _, row := range []struct {
		why    string
		server func(*tls.Conn)
		strict bool
		want   error
		status resume.Status
	}{
		{"close_notify", clean, false, nil, resume.Resumable},
		{"close_notify, StrictClose", clean, true, nil, resume.Resumable},
		{"a bare end", bare, false, nil, resume.Resumable},
		{"a bare end, StrictClose", bare, true, io.ErrUnexpectedEOF, resume.Failed},
	} {
		t.Run(row.why, func(t *testing.T) {
			s := newSite(t, setup{handle: func(conn net.Conn) { row.server(conn.(*tls.Conn)) }})
			c, heard := listen(t, &resume.ClientCache{StrictClose: row.strict})
			conn := bound(c.NewScope(), s.client).connect(t, s.Addr).(*resume.Conn)
			err := conn.Shutdown(t.Context())
			if row.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, row.want)
			}
			require.Len(t, heard.got(), 1)
			require.Equal(t, row.status, heard.got()[0].Status())
		})
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	s := newSite(t, setup{handle: func(net.Conn) { <-release }})
	defer close(release)
	c := newCache(t, new(resume.ClientCache))
	e := bound(c.NewScope(), s.client)
	for why, ctx := range map[string]func() (context.Context, context.CancelFunc){
		"over": func() (context.Context, context.CancelFunc) { return cancelled(), func() {} },
		"later": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 5*time.Millisecond)
		},
	} {
		conn := e.connect(t, s.Addr).(*resume.Conn)
		ctx, cancel := ctx()
		err := conn.Shutdown(ctx)
		cancel()
		require.ErrorIs(t, err, ctx.Err(), why)
		require.ErrorIs(t, conn.Close(), net.ErrClosed, why)
	}
	require.EqualValues(t, 2, c.Stats().Captured)
}

// A Shutdown under an application's Read ends both, as the peer ends.
func TestShutdownEndsABlockedRead(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	conn := bound(c.NewScope(), s.client).connect(t, s.Addr).(*resume.Conn)
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, conn.Shutdown(t.Context()))
	err := <-read
	require.True(t, errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed), err)
	require.EqualValues(t, 1, c.Stats().Captured)
}

func TestShutdownBeforeTheHandshakeIsClose(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	conn := c.NewScope().NewConn(rawConn(t, s.Addr), s.client)
	require.NoError(t, conn.Shutdown(t.Context()))
	require.Error(t, conn.Handshake())
}
