package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// waited is what WaitSession returned.
type waited struct {
	session *resume.Session
	err     error
}

// wait calls WaitSession in the background.
func wait(ctx context.Context, conn *resume.Conn) <-chan waited {
	result := make(chan waited, 1)
	go func() {
		session, err := conn.WaitSession(ctx)
		result <- waited{session, err}
	}()
	return result
}

// afterwards makes a Go server send its ticket after the client's Finished, as
// others do. It sends it with its own unless it asks for a certificate.
func afterwards(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }

// blocked is a connection whose tickets are held back by a valve.
func blocked(t *testing.T, s *site) (*resume.Conn, *valve) {
	v := newValve(t, s.Addr)
	c := newCache(t, new(resume.ClientCache))
	return bound(c.NewScope(), s.client).connect(t, v.Addr).(*resume.Conn), v
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestWaitSessionReturnsAtOnceWhatHasCome(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	conn := bound(c.NewScope(), s.client).connect(t, s.Addr).(*resume.Conn)
	require.NoError(t, talk(conn))
	session, err := conn.WaitSession(cancelled())
	require.NoError(t, err)
	require.True(t, session.Same(conn.Get0Session()))
	require.Panics(t, session.Release, "it is borrowed")
}

func TestWaitSessionWaitsForTheFirstTicket(t *testing.T) {
	for _, waiters := range []int{1, 3} {
		s := newSite(t, setup{server: afterwards})
		conn, valve := blocked(t, s)
		var results []<-chan waited
		for range waiters {
			results = append(results, wait(t.Context(), conn))
		}
		require.Equal(t, resume.Pending, conn.Get0Session().Status())
		valve.release()
		for _, result := range results {
			got := <-result
			require.NoError(t, got.err)
			require.Equal(t, resume.Resumable, got.session.Status())
			require.True(t, got.session.Same(conn.Get0Session()))
		}
		require.NoError(t, talk(conn), "the connection goes on")
	}
}

func TestWaitSessionRunsTheHandshake(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	conn := c.NewScope().NewConn(rawConn(t, s.Addr), s.client)
	defer conn.Close()
	session, err := conn.WaitSession(t.Context())
	require.NoError(t, err)
	require.True(t, session.Resumable())
}

// A second ticket that is there already is received with the first.
func TestWaitSessionReturnsTheLastOfSeveral(t *testing.T) {
	server := newOpenSSL(t, "-num_tickets", "2")
	c, heard := listen(t, new(resume.ClientCache))
	conn := dialed(c.NewScope(), server.client).connect(t, server.Addr).(*resume.Conn)
	_, err := conn.WaitSession(t.Context())
	require.NoError(t, err)
	require.NoError(t, talk(conn))
	require.Len(t, heard.got(), 2)
	last, err := conn.WaitSession(t.Context())
	require.NoError(t, err)
	require.True(t, last.Same(heard.got()[1]))
}

func TestDataReadForASessionIsKeptForTheApplication(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 40<<10/16)
	s := newSite(t, setup{server: afterwards, handle: func(conn net.Conn) {
		conn.Write(data)
		io.Copy(conn, conn)
	}})
	conn, valve := blocked(t, s)
	result := wait(t.Context(), conn)
	valve.release()
	require.NoError(t, (<-result).err)
	got := make([]byte, len(data))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, talk(conn))
}

// A countingConn counts the bytes that were read from it.
type countingConn struct {
	net.Conn
	read atomic.Int64
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func TestWaitSessionKeepsAtMost64KiB(t *testing.T) {
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	s := newSite(t, setup{
		server: func(c *tls.Config) { c.SessionTicketsDisabled = true },
		handle: func(conn net.Conn) { conn.Write(data) },
	})
	c := newCache(t, new(resume.ClientCache))
	raw := &countingConn{Conn: rawConn(t, s.Addr)}
	conn := c.NewScope().NewConn(raw, s.client)
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	result := wait(ctx, conn)
	require.Eventually(t, func() bool { return raw.read.Load() > 64<<10 }, patience, time.Millisecond)
	cancel()
	require.ErrorIs(t, (<-result).err, context.Canceled)
	// crypto/tls reads whole records, and fills its buffer while it is at it.
	require.Less(t, raw.read.Load(), int64(64+2*16)<<10)
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got), "in order and complete")
}

// The server is silent, so that whoever is in Read stays there.
func TestReadAndWaitSessionShareAConnection(t *testing.T) {
	for _, first := range []string{"Read", "WaitSession"} {
		t.Run(first+" comes first", func(t *testing.T) {
			s := newSite(t, setup{server: afterwards})
			conn, valve := blocked(t, s)
			read := make(chan error, 1)
			line := make([]byte, 6)
			reader := func() {
				go func() {
					_, err := io.ReadFull(conn, line)
					read <- err
				}()
			}
			if first == "Read" {
				reader()
			}
			result := wait(t.Context(), conn)
			if first == "WaitSession" {
				reader()
			}
			valve.release()
			require.NoError(t, (<-result).err)
			_, err := io.WriteString(conn, "level\n")
			require.NoError(t, err)
			require.NoError(t, <-read)
			require.Equal(t, "level\n", string(line))
		})
	}
}

func TestADeadlineSetWhileOthersWaitEndsTheRead(t *testing.T) {
	s := newSite(t, setup{server: afterwards})
	conn, valve := blocked(t, s)
	result := wait(t.Context(), conn)
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	select {
	case err := <-read:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case got := <-result:
		t.Fatalf("WaitSession ended first: %v", got)
	}
	valve.release()
	require.NoError(t, (<-result).err, "read deadlines are not its concern")
}

func TestAReadDeadlineSurvivesWaitSession(t *testing.T) {
	s := newSite(t, setup{server: afterwards})
	conn, valve := blocked(t, s)
	require.NoError(t, conn.SetReadDeadline(time.Now()))
	result := wait(t.Context(), conn)
	valve.release()
	require.NoError(t, (<-result).err)
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, talk(conn))
}

func TestWaitSessionEndsWithItsContext(t *testing.T) {
	s := newSite(t, setup{server: func(c *tls.Config) { c.SessionTicketsDisabled = true }})
	c := newCache(t, new(resume.ClientCache))
	conn := bound(c.NewScope(), s.client).connect(t, s.Addr).(*resume.Conn)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := conn.WaitSession(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		require.NoError(t, talk(conn), "nothing is held against the connection")
		require.Equal(t, resume.Pending, conn.Get0Session().Status())
	}
}

func TestWaitSessionSaysWhenNoneCanCome(t *testing.T) {
	for _, row := range []struct {
		why    string
		server func(*tls.Config)
		client func(*tls.Config)
		handle func(net.Conn)
		then   func(*resume.Conn)
	}{
		{why: "TLS 1.2 without a ticket", server: func(c *tls.Config) {
			onlyTLS12(c)
			c.SessionTicketsDisabled = true
		}},
		{why: "disabled by the configuration", client: func(c *tls.Config) { c.SessionTicketsDisabled = true }},
		{
			why:    "the peer's end",
			server: func(c *tls.Config) { c.SessionTicketsDisabled = true },
			handle: func(net.Conn) {},
		}, {
			why:    "the peer's end without close_notify",
			server: func(c *tls.Config) { c.SessionTicketsDisabled = true },
			handle: func(conn net.Conn) { conn.(*tls.Conn).NetConn().Close() },
		}, {
			why:    "our own end",
			server: func(c *tls.Config) { c.SessionTicketsDisabled = true },
			then:   func(conn *resume.Conn) { conn.Close() },
		},
	} {
		t.Run(row.why, func(t *testing.T) {
			s := newSite(t, setup{server: row.server, handle: row.handle})
			if row.client == nil {
				row.client = func(*tls.Config) {}
			}
			c := newCache(t, new(resume.ClientCache))
			conn := bound(c.NewScope(), s.with(row.client)).connect(t, s.Addr).(*resume.Conn)
			result := wait(t.Context(), conn)
			if row.then != nil {
				row.then(conn)
			}
			got := <-result
			require.ErrorIs(t, got.err, resume.ErrNoTicket)
			require.Nil(t, got.session)
			_, err := conn.WaitSession(t.Context())
			require.ErrorIs(t, err, resume.ErrNoTicket)
		})
	}
}

func TestATLS12SessionIsThereAtOnce(t *testing.T) {
	s := newSite(t, setup{server: onlyTLS12})
	c := newCache(t, new(resume.ClientCache))
	conn := bound(c.NewScope(), s.client).connect(t, s.Addr).(*resume.Conn)
	session, err := conn.WaitSession(cancelled())
	require.NoError(t, err)
	assert.True(t, session.Resumable())
}

// A resumed connection has the session it was resumed with; WaitSession means
// the one that it brings.
func TestWaitSessionOfAResumedConnectionIsTheNewOne(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	e := bound(c.NewScope(), s.client)
	e.full(t, s.Addr)
	conn := e.connect(t, s.Addr).(*resume.Conn)
	used := conn.Get1Session()
	defer used.Release()
	require.Equal(t, resume.Used, used.Status())
	session, err := conn.WaitSession(t.Context())
	require.NoError(t, err)
	require.False(t, session.Same(used))
	require.True(t, session.Resumable())
}
