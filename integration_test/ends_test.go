package integration_test

import (
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

// A tamperer flips a bit in what is written through it, once it is told to.
type tamperer struct {
	net.Conn
	out atomic.Bool
}

func (t *tamperer) Write(b []byte) (int, error) {
	if t.out.Load() {
		b = append([]byte(nil), b...)
		b[len(b)-1] ^= 1
	}
	return t.Conn.Write(b)
}

// An ending is a way for a connection to end.
type ending struct {
	name   string
	server func(conn *tls.Conn)           // just before the client's part; nil: echo
	client func(*testing.T, *resume.Conn) // ends the connection or sees its end
	kept   bool                           // with the default
	strict bool                           // kept with StrictClose
	reason string                         // if not kept
}

var endings = []ending{
	{
		name: "a fatal alert from the server",
		client: func(t *testing.T, conn *resume.Conn) {
			conn.NetConn().(*tamperer).out.Store(true) // the server cannot read it, and says so
			conn.Write([]byte("level\n"))
			readError(t, conn, "remote error: tls: bad record MAC")
		},
		reason: "alert",
	}, {
		name:   "a fatal alert to the server",
		server: func(conn *tls.Conn) { conn.NetConn().Write(notForUs) },
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "local error: tls: bad record MAC")
		},
		reason: "alert",
	}, {
		name:   "the same, seen by a Write",
		server: func(conn *tls.Conn) { conn.NetConn().Write(notForUs) },
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "local error: tls: bad record MAC")
			_, err := conn.Write([]byte("level\n"))
			require.ErrorContains(t, err, "local error: tls: bad record MAC")
		},
		reason: "alert",
	}, {
		name:   "a garbage record",
		server: func(conn *tls.Conn) { io.WriteString(conn.NetConn(), "no record at all") },
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "tls: ")
		},
		reason: "alert",
	}, {
		name:   "the server's end without close_notify",
		server: func(conn *tls.Conn) { conn.NetConn().Close() },
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "EOF")
		},
		kept: true, reason: "unclean",
	}, {
		name: "its end within a record",
		server: func(conn *tls.Conn) {
			conn.NetConn().Write([]byte{23, 3, 3, 1, 0, 'x'})
			conn.NetConn().Close()
		},
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "unexpected EOF")
		},
		kept: true, reason: "unclean",
	}, {
		name: "a reset",
		server: func(conn *tls.Conn) {
			conn.NetConn().(*net.TCPConn).SetLinger(0)
			conn.NetConn().Close()
		},
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "reset")
		},
		kept: true, reason: "unclean",
	}, {
		name: "the raw connection closed underneath, seen by Close",
		client: func(t *testing.T, conn *resume.Conn) {
			conn.NetConn().Close()
			require.Error(t, conn.Close())
		},
		reason: "unclean",
	}, {
		name: "the same, seen by a Read",
		client: func(t *testing.T, conn *resume.Conn) {
			conn.NetConn().Close()
			readError(t, conn, "use of closed network connection")
		},
		reason: "unclean",
	}, {
		name: "the same, seen by a Write",
		client: func(t *testing.T, conn *resume.Conn) {
			conn.NetConn().Close()
			_, err := conn.Write([]byte("level\n"))
			require.ErrorIs(t, err, net.ErrClosed)
		},
		reason: "unclean",
	}, {
		name: "the raw connection closed after close_notify",
		client: func(t *testing.T, conn *resume.Conn) {
			require.NoError(t, conn.CloseWrite())
			conn.NetConn().Close()
			conn.Close()
		},
		kept: true, strict: true,
	}, {
		name:   "close_notify from the server",
		server: func(conn *tls.Conn) { conn.Close() },
		client: func(t *testing.T, conn *resume.Conn) {
			readError(t, conn, "EOF")
		},
		kept: true, strict: true,
	}, {
		name:   "our Close",
		client: func(t *testing.T, conn *resume.Conn) { require.NoError(t, conn.Close()) },
		kept:   true, strict: true,
	}, {
		name: "a read deadline",
		client: func(t *testing.T, conn *resume.Conn) {
			conn.SetReadDeadline(time.Now())
			_, err := conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		},
		kept: true, strict: true,
	}, {
		name:   "our Close under a blocked Read",
		server: func(*tls.Conn) {}, // or it would answer close_notify
		client: func(t *testing.T, conn *resume.Conn) {
			done := make(chan error)
			go func() {
				_, err := conn.Read(make([]byte, 1))
				done <- err
			}()
			require.NoError(t, conn.Close())
			require.ErrorIs(t, <-done, net.ErrClosed)
		},
		kept: true, strict: true,
	}, {
		name:   "our Close during a Write in flight",
		server: func(*tls.Conn) {}, // does not read
		client: func(t *testing.T, conn *resume.Conn) {
			begun, done := make(chan struct{}), make(chan error)
			go func() {
				close(begun)
				var err error
				for err == nil {
					_, err = conn.Write(make([]byte, 1<<20))
				}
				done <- err
			}()
			<-begun
			conn.Close()
			require.Error(t, <-done)
		},
		kept: true, strict: true,
	},
}

// notForUs is a record that nobody has the key for.
var notForUs = append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...)

func readError(t *testing.T, conn *resume.Conn, text string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, conn)
	if text == "EOF" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, text)
}

// TestAnEndingForfeitsSessionsOrKeepsThem is the table "How a connection ends"
// of the design, each line with a real cause.
func TestAnEndingForfeitsSessionsOrKeepsThem(t *testing.T) {
	for _, end := range endings {
		for _, strict := range []bool{false, true} {
			name := end.name
			if strict {
				name += ", StrictClose"
			}
			t.Run(name, func(t *testing.T) { end.check(t, strict) })
		}
	}
}

func (end ending) check(t *testing.T, strict bool) {
	var theirs atomic.Bool // only the first connection ends this way
	now, done, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := newSite(t, setup{handle: func(conn net.Conn) {
		if theirs.Swap(true) || end.server == nil {
			io.Copy(conn, conn)
			return
		}
		line := make([]byte, 6)
		io.ReadFull(conn, line)
		conn.Write(line)
		<-now
		end.server(conn.(*tls.Conn))
		close(done)
		<-over
	}})
	defer close(over)
	c, heard := listen(t, &resume.ClientCache{StrictClose: strict})
	scope := c.NewScope()
	e := bound(scope, s.client)
	conn := scope.NewConn(&tamperer{Conn: rawConn(t, s.Addr)}, s.client)
	defer conn.Close()
	require.NoError(t, talk(conn))
	session := conn.Get1Session()
	defer session.Release()

	if close(now); end.server != nil {
		<-done
	}
	end.client(t, conn)

	kept := end.kept && !strict || end.strict && strict
	if kept {
		assert.Equal(t, resume.Resumable, session.Status())
		assert.Empty(t, heard.ended)
		e.resumed(t, s.Addr)
	} else {
		assert.Equal(t, resume.Failed, session.Status())
		assert.Equal(t, end.reason, session.Reason())
		assert.Equal(t, map[string]int{session.Info().ID: 1}, heard.ended)
		assert.EqualValues(t, 1, c.Stats().Failed)
		e.full(t, s.Addr)
	}
	requireNoReuse(t, s.Identities)
}

// What is used already is not forfeited, and what others received is not, too.
func TestAnAlertForfeitsWhatItsConnectionReceivedAlone(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	other := bound(scope, s.client)
	conn := scope.NewConn(&tamperer{Conn: rawConn(t, s.Addr)}, s.client)
	defer conn.Close()
	require.NoError(t, talk(conn))
	used := conn.Get1Session()
	defer used.Release()
	other.resumed(t, s.Addr) // with used; brings one of its own
	require.Equal(t, resume.Used, used.Status())

	conn.NetConn().(*tamperer).out.Store(true)
	conn.Write([]byte("level\n"))
	readError(t, conn, "remote error")
	require.Equal(t, resume.Used, used.Status())
	other.resumed(t, s.Addr)
	requireNoReuse(t, s.Identities)
}

// A TLS 1.2 session is used again and again: RFC 5246, Section 7.2.2 ends it
// with the first connection that fails, whoever received it.
func TestAnAlertEndsTheTLS12SessionItsConnectionResumed(t *testing.T) {
	s := newSite(t, setup{server: func(c *tls.Config) {
		onlyTLS12(c)
		c.WrapSession = onlyOnce(c)
	}})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	e := bound(scope, s.client)
	e.full(t, s.Addr)
	session := e.Get1Session(e.key(s.Addr))
	defer session.Release()
	conn := scope.NewConn(&tamperer{Conn: rawConn(t, s.Addr)}, s.client)
	defer conn.Close()
	require.NoError(t, talk(conn))
	require.True(t, conn.ConnectionState().DidResume)

	conn.NetConn().(*tamperer).out.Store(true)
	conn.Write([]byte("level\n"))
	readError(t, conn, "remote error")
	require.Equal(t, resume.Failed, session.Status())
	require.Equal(t, "alert", session.Reason())
	e.full(t, s.Addr)
}
