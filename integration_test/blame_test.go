package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A cut connection passes on the first bytes that come, and no more.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Read(b []byte) (int, error) {
	for c.left == 0 {
		if _, err := c.Conn.Read(b); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// An alarm answers with handshake_failure, whatever the server says.
type alarm struct{ net.Conn }

func (a alarm) Read(b []byte) (int, error) {
	if _, err := a.Conn.Read(b); err != nil {
		return 0, err
	}
	return copy(b, []byte{21, 3, 3, 0, 2, 2, 40}), nil
}

// A failure is a way for a handshake to fail in which the server answered.
type failure struct {
	why       string
	handshake func(scope *resume.Scope, raw net.Conn, config *tls.Config) error
	objects   bool // VerifyConnection refuses the server
	servers   bool // the server is to blame
}

var failures = []failure{
	{why: "a context's time is up", handshake: func(scope *resume.Scope, raw net.Conn, config *tls.Config) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return scope.NewConn(&cut{raw, 10}, config).HandshakeContext(ctx)
	}},
	{why: "a context is cancelled", handshake: func(scope *resume.Scope, raw net.Conn, config *tls.Config) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		time.AfterFunc(time.Second, cancel)
		return scope.NewConn(&cut{raw, 10}, config).HandshakeContext(ctx)
	}},
	{why: "a deadline passes", handshake: func(scope *resume.Scope, raw net.Conn, config *tls.Config) error {
		conn := scope.NewConn(&cut{raw, 10}, config)
		conn.SetDeadline(time.Now().Add(time.Second))
		return conn.Handshake()
	}},
	{why: "the caller refuses the server", objects: true, handshake: func(scope *resume.Scope, raw net.Conn, config *tls.Config) error {
		return scope.NewConn(raw, config).Handshake()
	}},
	{why: "the server says so", servers: true, handshake: func(scope *resume.Scope, raw net.Conn, config *tls.Config) error {
		return scope.NewConn(alarm{raw}, config).Handshake()
	}},
}

// fails stocks sessions, in a bubble, and then makes four handshakes that fail
// this way.
func (f failure) fails(t *testing.T, sessions int, change ...func(*tls.Config)) (e entry, c *resume.ClientCache, m *memory) {
	m = newMemory(term{}, change...)
	c = newCache(t, new(resume.ClientCache))
	var objects atomic.Bool
	config := m.with(func(c *tls.Config) {
		c.VerifyConnection = func(tls.ConnectionState) error {
			if objects.Load() {
				return errors.New("refused by a hook")
			}
			return nil
		}
	})
	scope := c.NewScope()
	e = m.reach(bound(scope, config))
	e.stock(t, "", sessions)
	objects.Store(f.objects)
	for range 4 {
		raw := m.open()
		require.Error(t, f.handshake(scope, raw, config))
		raw.Close()
	}
	objects.Store(false)
	return e, c, m
}

// Three failures that are the server's are enough.
func TestOnlyWhatTheServerDoesCountsTowardsBackOff(t *testing.T) {
	for _, f := range failures {
		t.Run(f.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, c, m := f.fails(t, 5)
				if f.servers {
					require.Equal(t, 3, m.seen.Counts().Offered)
					e.full(t, "")
					require.EqualValues(t, 2, c.Stats().BackedOff)
				} else {
					require.Equal(t, 4, m.seen.Counts().Offered)
					e.resumed(t, "")
					require.Zero(t, c.Stats().BackedOff)
				}
				requireNoReuse(t, m.seen)
			})
		})
	}
}

// RFC 5077, Section 3.2 (rule N17) is about what the server made of a session.
func TestOnlyWhatTheServerDoesEndsATLS12Session(t *testing.T) {
	for _, f := range failures {
		t.Run(f.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, c, m := f.fails(t, 1, onlyTLS12)
				if f.servers {
					require.Equal(t, 1, m.seen.Counts().Offered)
					require.EqualValues(t, 1, c.Stats().Failed)
					e.full(t, "")
				} else {
					require.Equal(t, 4, m.seen.Counts().Offered)
					require.True(t, e.Get0Session(host).Resumable())
					e.resumed(t, "")
					require.Equal(t, 5, m.seen.Counts().Offered)
				}
			})
		})
	}
}

// A server that has new keys sends them along: the caller is to use them.
func TestARejectedEncryptedHelloDoesNotCountTowardsBackOff(t *testing.T) {
	list, keys := echKeys(t)
	old, _ := echKeys(t)
	s := newSite(t, setup{server: func(c *tls.Config) { c.EncryptedClientHelloKeys = keys }})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	with := func(list []byte) entry {
		return bound(scope, s.with(func(c *tls.Config) {
			c.EncryptedClientHelloConfigList, c.MinVersion = list, tls.VersionTLS13
		}))
	}
	e, stale := with(list), with(old)
	e.stock(t, s.Addr, 5)
	for range 4 {
		_, err := stale.visit(s.Addr)
		require.ErrorAs(t, err, new(*tls.ECHRejectionError))
	}
	require.EqualValues(t, 4, c.Stats().Used)
	e.resumed(t, s.Addr)
	require.Zero(t, c.Stats().BackedOff)
	require.Equal(t, 1, requireNoReuse(t, s.Identities).Offered, "the other hellos could not be read")
}

// Behind a tunnel nobody knows the address, and an alert is one all the same.
func TestAServerWithoutAnAddressIsBackedOffFrom(t *testing.T) {
	s := newSite(t, setup{})
	bad := alerting(t)
	c, heard := listen(t, new(resume.ClientCache))
	scope := c.NewScope()
	e := bound(scope, s.client)
	e.stock(t, s.Addr, 5)
	for range 5 {
		conn := scope.NewConn(nowhere{rawConn(t, bad.Addr)}, s.client)
		require.ErrorContains(t, conn.Handshake(), "handshake failure")
		conn.Close()
	}
	require.Equal(t, 3, requireNoReuse(t, bad.Identities).Offered)
	require.Equal(t, 1, heard.count(resume.BackedOff))
	require.EqualValues(t, 2, c.Stats().BackedOff)
}

// A server may renew a TLS 1.2 session as it resumes it. Its master secret
// stays, so that an alert is about both (RFC 5246, Section 7.2.2).
func TestAnAlertEndsARenewedTLS12SessionAndItsOriginal(t *testing.T) {
	s := newSite(t, setup{server: onlyTLS12})
	c, heard := listen(t, new(resume.ClientCache))
	scope := c.NewScope()
	e := bound(scope, s.client)
	original := e.received(t, s.Addr)
	conn := scope.NewConn(&tamperer{Conn: rawConn(t, s.Addr)}, s.client)
	defer conn.Close()
	require.NoError(t, talk(conn))
	require.True(t, conn.ConnectionState().DidResume)
	renewed := conn.Get1Session()
	defer renewed.Release()
	require.False(t, renewed.Same(original))

	conn.NetConn().(*tamperer).out.Store(true)
	io.WriteString(conn, "level\n")
	readError(t, conn, "remote error")
	for _, session := range []*resume.Session{original, renewed} {
		require.Equal(t, resume.Failed, session.Status())
		require.Equal(t, "alert", session.Reason())
		require.Equal(t, 1, heard.ended[session.Info().ID])
	}
	e.full(t, s.Addr)
	require.Equal(t, 1, s.Identities.Counts().Offered)
}

// What another handshake has in hand cannot be taken from it. If it was not
// sent, the alert is remembered.
func TestAnAlertEndsALeasedSessionOnlyIfItIsGivenBack(t *testing.T) {
	for _, row := range []struct {
		sent   bool
		status resume.Status
		reason string
	}{
		{true, resume.Used, "used"},
		{false, resume.Failed, "alert"},
	} {
		s := newSite(t, setup{})
		c, heard := listen(t, new(resume.ClientCache))
		scope := c.NewScope()
		alerted := scope.NewConn(&tamperer{Conn: rawConn(t, s.Addr)}, s.client)
		defer alerted.Close()
		require.NoError(t, talk(alerted))
		session := alerted.Get1Session()
		defer session.Release()

		raw := &doctored{Conn: rawConn(t, s.Addr)}
		defer raw.Close()
		at, goOn, dead := make(chan struct{}), make(chan struct{}), errors.New("dead")
		raw.onWrite(func(b []byte) (int, error) {
			close(at)
			<-goOn
			if !row.sent {
				return 0, dead
			}
			raw.onWrite(raw.Conn.Write)
			return raw.Conn.Write(b)
		})
		conn, handshake := scope.NewConn(raw, s.client), make(chan error, 1)
		go func() { handshake <- conn.Handshake() }()
		<-at
		require.Equal(t, "leased", session.Reason())
		alerted.NetConn().(*tamperer).out.Store(true)
		io.WriteString(alerted, "level\n")
		readError(t, alerted, "remote error")
		require.Equal(t, "leased", session.Reason())
		require.Empty(t, heard.ended)

		close(goOn)
		if err := <-handshake; row.sent {
			require.NoError(t, err)
			require.True(t, conn.ConnectionState().DidResume)
			require.Equal(t, 1, s.Identities.Counts().Offered)
		} else {
			require.ErrorIs(t, err, dead)
			bound(scope, s.client).full(t, s.Addr)
			require.Zero(t, s.Identities.Counts().Offered)
		}
		require.Equal(t, row.status, session.Status())
		require.Equal(t, row.reason, session.Reason())
		require.Equal(t, map[string]int{session.Info().ID: 1}, heard.ended)
	}
}

// renegotiating is an openssl s_server that asks for a new handshake when it is
// told to.
func renegotiating(t testing.TB) (addr string, client *tls.Config, ask func()) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		peerMissing(t, err)
	}
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	certFile, keyFile, err := tlstest.WriteFiles(t.TempDir(), issue(ca, host))
	require.NoError(t, err)
	cmd := exec.Command(path, "s_server", "-accept", "127.0.0.1:0", "-cert", certFile, "-key", keyFile, "-tls1_2")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for addr == "" && lines.Scan() { // it says where: ACCEPT 127.0.0.1:port
		fmt.Sscanf(lines.Text(), "ACCEPT %s", &addr)
	}
	require.NotEmpty(t, addr)
	go io.Copy(io.Discard, out)
	return addr, &tls.Config{RootCAs: ca.Pool(), ServerName: host}, func() { io.WriteString(in, "R\n") }
}

// crypto/tls refuses to renegotiate with a warning, and fails the Read. That is
// no fatal alert (RFC 5246, Section 7.2.2).
func TestARefusedRenegotiationIsNoAlert(t *testing.T) {
	addr, client, ask := renegotiating(t)
	c, heard := listen(t, new(resume.ClientCache))
	e := bound(c.NewScope(), client)
	conn := e.connect(t, addr).(*resume.Conn)
	session := conn.Get1Session()
	defer session.Release()
	ask()
	readError(t, conn, "no renegotiation")
	_, err := io.WriteString(conn, "level\n")
	require.ErrorContains(t, err, "no renegotiation", "nor is it one to a Write")
	require.Equal(t, resume.Resumable, session.Status(), session)
	require.Empty(t, heard.ended)
	conn.Close()
	require.True(t, e.connect(t, addr).ConnectionState().DidResume)
}

// The caller wants this session and no other, so that a full handshake is not
// what he wants, and the server has seen no ticket.
func TestAnExactSessionThatCannotBeOfferedIsAnError(t *testing.T) {
	s := newSite(t, setup{})
	leaf := x509.NewCertPool()
	leaf.AddCert(tlstest.Must(x509.ParseCertificate(s.server.Certificates[0].Certificate[0])))
	for _, row := range []struct {
		why    string
		change func(*tls.Config)
	}{
		{"the configuration disables tickets", noTickets},
		{"other roots, to which the session does not go back", func(c *tls.Config) { c.RootCAs = leaf }},
	} {
		c, heard := listen(t, new(resume.ClientCache))
		e := dialed(c.NewScope(), s.client)
		session := e.received(t, s.Addr)
		before := s.Identities.Counts().Offered

		d := exactly(e, session)
		d.Config = s.with(row.change)
		conn, err := d.Dial("tcp", s.Addr)
		require.Nil(t, conn, row.why)
		require.ErrorIs(t, err, resume.ErrNotResumable, row.why)
		require.Equal(t, resume.Resumable, session.Status(), row.why)
		require.Empty(t, heard.ended)
		require.Equal(t, before, s.Identities.Counts().Offered, row.why)

		conn, err = exactly(e, session).Dial("tcp", s.Addr)
		require.NoError(t, err)
		require.True(t, conn.ConnectionState().DidResume)
		require.NoError(t, conn.Close())
		require.Equal(t, before+1, requireNoReuse(t, s.Identities).Offered)
	}
}

// A configuration of TLSConfig counts and tells, whoever makes the connection.
func TestAHandshakeIsToldOfOnce(t *testing.T) {
	s := newSite(t, setup{})
	c, heard := listen(t, new(resume.ClientCache))
	scope := c.NewScope()
	e := bound(scope, scope.TLSConfig(s.client))
	e.full(t, s.Addr)
	assert.Equal(t, 1, heard.count(resume.HandshakeDone))
	e.resumed(t, s.Addr)
	assert.Equal(t, 2, heard.count(resume.HandshakeDone))
	assert.EqualValues(t, 1, c.Stats().Full)
	assert.EqualValues(t, 1, c.Stats().Resumed)
	require.Equal(t, 1, requireNoReuse(t, s.Identities).Offered)
}
