package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// A doctored connection reads and writes as a test says, once it says so.
type doctored struct {
	net.Conn
	read, write atomic.Pointer[transfer]
}

// A transfer is a Read or a Write.
type transfer func(b []byte) (int, error)

func (d *doctored) onRead(f transfer)  { d.read.Store(&f) }
func (d *doctored) onWrite(f transfer) { d.write.Store(&f) }

func (d *doctored) Read(b []byte) (int, error) {
	if f := d.read.Load(); f != nil {
		return (*f)(b)
	}
	return d.Conn.Read(b)
}

func (d *doctored) Write(b []byte) (int, error) {
	if f := d.write.Load(); f != nil {
		return (*f)(b)
	}
	return d.Conn.Write(b)
}

// readBegins is closed when the connection is next read from.
func (d *doctored) readBegins() <-chan struct{} {
	begins := make(chan struct{})
	once := sync.OnceFunc(func() { close(begins) })
	d.onRead(func(b []byte) (int, error) {
		once()
		return d.Conn.Read(b)
	})
	return begins
}

// jam begins a Write and returns when the raw connection, which takes no more,
// holds it up, until it is closed or a deadline passes. The result is its
// error. The server must not read.
func (d *doctored) jam(conn net.Conn) <-chan error {
	begun, result := make(chan struct{}), make(chan error, 1)
	once := sync.OnceFunc(func() { close(begun) })
	d.onWrite(func(b []byte) (n int, err error) {
		once()
		for err == nil {
			_, err = d.Conn.Write(b)
		}
		return 0, err
	})
	go func() {
		_, err := conn.Write([]byte("level\n"))
		result <- err
	}()
	<-begun
	return result
}

// returned is what f returns, which must not take for ever.
func returned(t testing.TB, what string, f func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		require.FailNow(t, what+" does not return")
		return nil
	}
}

func noTickets(c *tls.Config) { c.SessionTicketsDisabled = true }

// A mute is a server without tickets that neither reads nor writes after the
// handshake, unless say, if not nil, does.
type mute struct {
	*site
	over chan struct{} // closed when the test ends
	said chan struct{} // the handshake is over, and say has returned
}

func newMute(t *testing.T, say func(*tls.Conn)) *mute {
	m := &mute{over: make(chan struct{}), said: make(chan struct{}, 1)}
	m.site = newSite(t, setup{server: noTickets, handle: func(conn net.Conn) {
		if say != nil {
			say(conn.(*tls.Conn))
		}
		m.said <- struct{}{}
		<-m.over
	}})
	t.Cleanup(func() { close(m.over) })
	return m
}

// open makes a connection whose handshake is over on both sides.
func (m *mute) open(t *testing.T, wrap func(net.Conn) net.Conn) (*resume.Conn, *doctored) {
	t.Helper()
	c := newCache(t, new(resume.ClientCache))
	raw := &doctored{Conn: rawConn(t, m.Addr)}
	conn := c.NewScope().NewConn(wrap(raw), m.with(onlyP256))
	t.Cleanup(func() { raw.Close() })
	require.NoError(t, conn.Handshake())
	<-m.said
	return conn, raw
}

func asItIs(raw net.Conn) net.Conn { return raw }

// A noDeadlines is a connection like the channels of golang.org/x/crypto/ssh.
type noDeadlines struct{ net.Conn }

var errNoDeadlines = errors.New("deadlines are not supported")

func (noDeadlines) SetDeadline(time.Time) error      { return errNoDeadlines }
func (noDeadlines) SetReadDeadline(time.Time) error  { return errNoDeadlines }
func (noDeadlines) SetWriteDeadline(time.Time) error { return errNoDeadlines }

func withoutDeadlines(raw net.Conn) net.Conn { return noDeadlines{raw} }

// Where a read cannot be ended it is not begun, or left to itself.
func TestNothingHangsOnARawConnectionWithoutDeadlines(t *testing.T) {
	for _, row := range []struct {
		what string
		call func(context.Context, *resume.Conn) error
		want error
	}{
		{"Close", func(_ context.Context, conn *resume.Conn) error { return conn.Close() }, nil},
		{"Shutdown", func(ctx context.Context, conn *resume.Conn) error { return conn.Shutdown(ctx) }, context.Canceled},
		{"WaitSession", func(ctx context.Context, conn *resume.Conn) error {
			_, err := conn.WaitSession(ctx)
			return err
		}, context.Canceled},
	} {
		t.Run(row.what, func(t *testing.T) {
			conn, raw := newMute(t, nil).open(t, withoutDeadlines)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reads := raw.readBegins()
			go func() {
				select {
				case <-reads: // and nothing comes
					cancel()
				case <-t.Context().Done():
				}
			}()
			err := returned(t, row.what, func() error { return row.call(ctx, conn) })
			require.ErrorIs(t, err, row.want)
			if row.what == "WaitSession" {
				require.NoError(t, returned(t, "Close after it", conn.Close))
			}
			require.ErrorIs(t, raw.Conn.SetDeadline(time.Time{}), net.ErrClosed)
		})
	}
}

// WaitSession leaves a read behind that nobody can end. What that gets is the
// application's.
func TestAReadThatWaitSessionLeavesBehindLosesNothing(t *testing.T) {
	s := newSite(t, setup{server: noTickets})
	c := newCache(t, new(resume.ClientCache))
	raw := &doctored{Conn: rawConn(t, s.Addr)}
	conn := c.NewScope().NewConn(noDeadlines{raw}, s.client)
	defer conn.Close()
	require.NoError(t, conn.Handshake())
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		reads := raw.readBegins()
		result := wait(ctx, conn)
		<-reads
		cancel()
		err := returned(t, "WaitSession", func() error { return (<-result).err })
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, returned(t, "an exchange", func() error { return talk(conn) }))
	}
}

// The record makes crypto/tls answer with an alert, which waits behind the
// Write, and the read behind that.
func sayGarbage(conn *tls.Conn) { conn.NetConn().Write(notForUs) }

func TestCloseBreaksABlockedWriteOff(t *testing.T) {
	conn, raw := newMute(t, sayGarbage).open(t, asItIs)
	result := raw.jam(conn)
	returned(t, "Close", conn.Close)
	require.ErrorIs(t, <-result, net.ErrClosed)
}

// Close cannot know of a Write that begins after it, and allows it a moment.
func TestCloseBreaksAWriteOffThatBeginsMeanwhile(t *testing.T) {
	m := newMute(t, nil)
	for range 1000 {
		conn, raw := m.open(t, asItIs)
		jammed, closed := make(chan (<-chan error), 1), make(chan error, 1)
		raw.onRead(func(b []byte) (int, error) { // Close looks for tickets
			jammed <- raw.jam(conn)
			raw.onRead(raw.Conn.Read)
			return copy(b, notForUs), nil // the answer waits behind the Write
		})
		go func() { closed <- conn.Close() }()
		select {
		case <-closed: // it did not look: the handshake took too long
			continue
		case result := <-jammed:
			err := returned(t, "the Write", func() error { return <-result })
			require.ErrorIs(t, err, net.ErrClosed)
			<-closed
			return
		}
	}
	require.FailNow(t, "no handshake was quick enough")
}

func TestWaitSessionEndsWithItsContextBehindABlockedWrite(t *testing.T) {
	conn, raw := newMute(t, sayGarbage).open(t, asItIs)
	result := raw.jam(conn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	raw.onRead(func(b []byte) (int, error) {
		n, err := raw.Conn.Read(b)
		cancel() // the read is past where a deadline could end it
		return n, err
	})
	err := returned(t, "WaitSession", func() error {
		_, err := conn.WaitSession(ctx)
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	returned(t, "Close", conn.Close)
	require.Error(t, <-result)
}

// crypto/tls allows its close_notify five seconds, from when the Write before
// it has failed.
func TestShutdownEndsWithItsContextBehindABlockedWrite(t *testing.T) {
	conn, raw := newMute(t, nil).open(t, asItIs)
	result := raw.jam(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := returned(t, "Shutdown", func() error { return conn.Shutdown(ctx) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 4*time.Second)
	require.ErrorIs(t, <-result, net.ErrClosed)
	require.ErrorIs(t, conn.Close(), net.ErrClosed)
}

// Close counts what it discards in bytes, and a record may have one of them.
// Either it is quick about them all, or it does not take them all, which shows
// in what the server can send.
func TestAFirehoseOfSmallRecordsDoesNotHoldCloseUp(t *testing.T) {
	const records = 128 << 10
	s := newSite(t, setup{server: noTickets})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ready, stock, sent := make(chan struct{}), new(bytes.Buffer), make(chan int64, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		raw.(*net.TCPConn).SetWriteBuffer(64 << 10) // what lies there was not taken
		d := &doctored{Conn: raw}
		server := tls.Server(d, s.server)
		server.Handshake()
		d.onWrite(stock.Write)
		for range records {
			server.Write([]byte{'x'})
		}
		close(ready)
		n, _ := io.Copy(raw, bytes.NewReader(stock.Bytes()))
		sent <- n
	}()
	c := newCache(t, new(resume.ClientCache))
	conn := c.NewScope().NewConn(rawConn(t, listener.Addr().String()), s.client)
	require.NoError(t, conn.Handshake())
	require.NoError(t, conn.NetConn().(*net.TCPConn).SetReadBuffer(64<<10))
	<-ready
	began := time.Now()
	returned(t, "Close", conn.Close)
	took, n := time.Since(began), <-sent
	t.Logf("Close took %v, and %d of %d bytes were sent", took, n, stock.Len())
	require.True(t, took < 100*time.Millisecond || n < int64(stock.Len()))
}

// quiet is a connection in a bubble, for what depends on time. The server has
// no tickets, unless they are asked for.
func quiet(t *testing.T, tickets bool) (conn *resume.Conn, raw *doctored, server net.Conn) {
	conn, server = inMemory(t, new(resume.ClientCache), 0, func(server, _ *tls.Config) {
		server.SessionTicketsDisabled = !tickets
	})
	t.Cleanup(func() { server.Close() })
	time.AfterFunc(day, func() { server.Close() }) // ends what waits for ever
	below := conn.NetConn().(*distant)
	raw = &doctored{Conn: below.Conn}
	below.Conn = raw
	return conn, raw, server
}

// Somebody may have bounded the connection before it was handed in.
func TestADeadlineSetOnTheRawConnectionOutlivesWaitSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, raw, _ := quiet(t, true)
		defer conn.Close()
		began := time.Now()
		require.NoError(t, raw.SetReadDeadline(began.Add(time.Minute)))
		_, err := conn.WaitSession(t.Context())
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
	})
}

func TestADeadlineSetOnTheRawConnectionEndsWaitSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, raw, server := quiet(t, false)
		defer conn.Close()
		began := time.Now()
		require.NoError(t, raw.SetReadDeadline(began.Add(time.Minute)))
		var reads atomic.Int64
		raw.onRead(func(b []byte) (int, error) {
			if reads.Add(1) > 10 { // in a bubble who spins stops the clock
				return 0, io.EOF
			}
			return raw.Conn.Read(b)
		})
		_, err := conn.WaitSession(t.Context())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))

		require.NoError(t, conn.SetReadDeadline(time.Time{}))
		go io.WriteString(server, "level\n")
		_, err = io.ReadFull(conn, make([]byte, 6))
		require.NoError(t, err, "nothing is held against the connection")
	})
}

// Tickets come before data: of who has data, all have come. That a ticket is
// waited for otherwise is in TestCloseWaitsAMomentAndOnlyForTickets.
func TestCloseWaitsForNothingOnceDataWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _, server := quiet(t, false)
		go io.WriteString(server, "level\n")
		_, err := io.ReadFull(conn, make([]byte, 6))
		require.NoError(t, err)
		began := time.Now()
		conn.Close()
		require.Zero(t, time.Since(began))
	})
}

// An idle is an error of a connection that has ended by its own clock.
type idle struct{}

func (idle) Error() string   { return "idle for too long" }
func (idle) Timeout() bool   { return true }
func (idle) Temporary() bool { return false }

// crypto/tls gives such a connection up, however its error is called, and
// returns it to every Read from then on.
func TestATimeoutThatDoesNotPassIsAnUncleanEnd(t *testing.T) {
	for _, strict := range []bool{false, true} {
		s := newSite(t, setup{})
		c := newCache(t, &resume.ClientCache{StrictClose: strict})
		scope := c.NewScope()
		raw := &doctored{Conn: rawConn(t, s.Addr)}
		conn := scope.NewConn(raw, s.client)
		defer conn.Close()
		require.NoError(t, talk(conn))
		raw.onRead(func([]byte) (int, error) { return 0, idle{} })
		_, err := conn.Read(make([]byte, 1))
		require.ErrorAs(t, err, new(idle))
		if e := bound(scope, s.client); strict {
			require.Equal(t, "unclean", conn.Get0Session().Reason())
			e.full(t, s.Addr)
		} else {
			require.True(t, conn.Get0Session().Resumable())
			e.resumed(t, s.Addr)
		}
		requireNoReuse(t, s.Identities)
	}
}

// To go on waiting would be to spin.
func TestATimeoutThatDoesNotPassEndsWaitSession(t *testing.T) {
	conn, raw := newMute(t, nil).open(t, asItIs)
	var reads atomic.Int64
	raw.onRead(func([]byte) (int, error) {
		reads.Add(1)
		return 0, idle{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := conn.WaitSession(ctx)
	require.ErrorIs(t, err, resume.ErrNoTicket)
	require.EqualValues(t, 1, reads.Load())
}

// An end is an end, whether it comes alone or with the last data.
func TestAnEndThatComesWithDataIsTakenAsItIs(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	echo := func(conn net.Conn) { io.Copy(conn, conn) }
	for _, row := range []struct {
		why    string
		with   error
		answer func(net.Conn) // the server's, to the second line
		strict bool
		reason string
	}{
		{"a reset", reset, echo, false, ""},
		{"a reset, StrictClose", reset, echo, true, "unclean"},
		{"close_notify and the end, StrictClose", io.EOF, func(conn net.Conn) {
			io.CopyN(io.Discard, conn, 6)
			conn.Close()
		}, true, ""},
	} {
		t.Run(row.why, func(t *testing.T) {
			s := newSite(t, setup{handle: func(conn net.Conn) {
				io.CopyN(conn, conn, 6)
				row.answer(conn)
			}})
			c := newCache(t, &resume.ClientCache{StrictClose: row.strict})
			scope := c.NewScope()
			raw := &doctored{Conn: rawConn(t, s.Addr)}
			conn := scope.NewConn(raw, s.client)
			defer conn.Close()
			require.NoError(t, talk(conn))
			session := conn.Get1Session()
			defer session.Release()

			raw.onRead(func(b []byte) (int, error) {
				n, err := raw.Conn.Read(b)
				if n > 0 {
					err = row.with
				}
				return n, err
			})
			io.WriteString(conn, "level\n")
			conn.SetReadDeadline(time.Now().Add(patience))
			_, err := io.ReadAll(conn)
			require.Equal(t, row.with == reset, errors.Is(err, reset), err)
			require.Equal(t, row.reason, session.Reason())
			if e := bound(scope, s.client); row.reason != "" {
				e.full(t, s.Addr)
			} else {
				e.resumed(t, s.Addr)
			}
			requireNoReuse(t, s.Identities)
		})
	}
}

// A stream of a multiplexer, say, has words of its own for being closed here.
// StrictClose is about the peer.
func TestOurOwnCloseIsNoUncleanEndWhateverItIsCalled(t *testing.T) {
	over := make(chan struct{})
	var first atomic.Bool
	s := newSite(t, setup{handle: func(conn net.Conn) {
		io.CopyN(conn, conn, 6)
		if !first.Swap(true) {
			<-over // or it would answer close_notify
		}
	}})
	defer close(over)
	c := newCache(t, &resume.ClientCache{StrictClose: true})
	scope := c.NewScope()
	raw := &doctored{Conn: rawConn(t, s.Addr)}
	conn := scope.NewConn(raw, s.client)
	require.NoError(t, talk(conn))
	session := conn.Get1Session()
	defer session.Release()
	begins, own := make(chan struct{}), errors.New("session shutdown")
	raw.onRead(func(b []byte) (int, error) {
		close(begins)
		n, err := raw.Conn.Read(b)
		if err != nil {
			err = own
		}
		return n, err
	})
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	<-begins
	require.NoError(t, conn.Close())
	require.ErrorIs(t, <-read, own)
	assert.Equal(t, resume.Resumable, session.Status(), session)
	bound(scope, s.client).resumed(t, s.Addr)
	requireNoReuse(t, s.Identities)
}
