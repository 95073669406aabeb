package integration_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/web"
	"github.com/tlsresume/tlsresume/resume"
)

// given is a plain configuration that offers one session.
func given(base *tls.Config, session *resume.Session) entry {
	return plugged(base, session.ClientSessionCache(), nil)
}

// received makes a connection and returns the session that it brought, held.
func (e entry) received(t testing.TB, addr string) *resume.Session {
	t.Helper()
	conn := e.connect(t, addr)
	require.NoError(t, talk(conn))
	session := conn.(*resume.Conn).Get1Session()
	t.Cleanup(session.Release)
	return session
}

func TestAGivenSessionIsOfferedOnce(t *testing.T) {
	s := newSite(t, setup{})
	c, heard := listen(t, new(resume.ClientCache))
	scope := c.Scope("tenant")
	e := bound(scope, s.client)
	session := e.received(t, s.Addr)
	data := given(s.client, session)
	data.resumed(t, s.Addr)
	require.Equal(t, resume.Used, session.Status())
	data.full(t, s.Addr)
	assert.Equal(t, 1, requireNoReuse(t, s.Identities).Offered, "neither does the pool have it")
	assert.Equal(t, 1, heard.ended[session.Info().ID])

	// What these brought is found as if the scope had been plugged in.
	require.True(t, scope.Get0Session(host).Same(heard.got()[2]))
	plugged(s.client, scope, scope).resumed(t, s.Addr)
	requireNoReuse(t, s.Identities)
}

func TestOneOfManyGetsAGivenSession(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	e := bound(c.Scope("tenant"), s.client)
	session := e.received(t, s.Addr)
	data := given(s.client, session)
	exact := exactly(e, session)
	var all errgroup.Group
	for range 8 {
		all.Go(func() error { _, err := data.visit(s.Addr); return err })
		all.Go(func() error { _, err := e.visit(s.Addr); return err })
		all.Go(func() error {
			conn, err := exact.Dial("tcp", s.Addr)
			if err == nil {
				return conn.Close()
			}
			return nil // somebody else was faster
		})
	}
	require.NoError(t, all.Wait())
	require.Equal(t, resume.Used, session.Status())
	requireNoReuse(t, s.Identities)
}

// Another port of the same name is allowed: an FTPS data connection has one.
func TestAGivenSessionBelongsToItsServerName(t *testing.T) {
	const other = "other.test"
	s := newSite(t, setup{names: []string{host, other, "127.0.0.1"}})
	second := serve(t, tlstest.Options{Config: s.server, Identities: s.Identities})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	for _, row := range []struct {
		why, name, later string
		resumed          bool
	}{
		{"the same name", host, host, true},
		{"another name, in the same certificate", host, other, false},
		{"an address is a name", "127.0.0.1", "127.0.0.1", true},
		{"a name is not its address", host, "127.0.0.1", false},
	} {
		session := bound(scope, s.with(named(row.name))).received(t, s.Addr)
		resumed, err := given(s.with(named(row.later)), session).visit(second.Addr)
		require.NoError(t, err)
		require.Equal(t, row.resumed, resumed, row.why)
		require.Equal(t, !row.resumed, session.Resumable(), row.why)
	}
	requireNoReuse(t, s.Identities)
}

// Without a ServerName crypto/tls asks by ip:port (rule T4).
func TestAGivenSessionIsFoundByAddress(t *testing.T) {
	s := newSite(t, setup{names: []string{"127.0.0.1"}, server: newKeys})
	second := serve(t, tlstest.Options{Config: s.server, Identities: s.Identities})
	c := newCache(t, new(resume.ClientCache))
	session := dialed(c.NewScope(), s.with(named(""))).received(t, s.Addr)
	given(s.with(func(c *tls.Config) {
		c.ServerName, c.InsecureSkipVerify = "", true
	}), session).resumed(t, second.Addr)
	requireNoReuse(t, s.Identities)
}

func TestAGivenTLS12SessionIsOfferedEachTimeUntilItBreaks(t *testing.T) {
	s := newSite(t, setup{server: func(c *tls.Config) {
		onlyTLS12(c)
		c.WrapSession = onlyOnce(c)
	}})
	c := newCache(t, new(resume.ClientCache))
	session := bound(c.NewScope(), s.client).received(t, s.Addr)
	data := given(s.client, session)
	require.Equal(t, 8, data.crowd(t, s.Addr, 8))
	require.Equal(t, resume.Resumable, session.Status())
	session.ClientSessionCache().Put(host, nil)
	require.Equal(t, resume.Failed, session.Status())
	data.full(t, s.Addr)
}

// Nothing that a data connection brings meets a client identity (rule N25): not
// that of the scope's configurations, whose sessions stay apart.
func TestWhatAGivenSessionBringsMeetsNoIdentity(t *testing.T) {
	g := newGate(t)
	c := newCache(t, new(resume.ClientCache))
	scope, me := c.Scope("tenant"), &changing{who: alice}
	e := dialed(scope, me.config(g))
	require.NoError(t, g.enter(e, alice))
	session := e.Get1Session(e.key(g.Addr))
	defer session.Release()
	require.NoError(t, g.enter(given(g.client, session), alice))
	require.Equal(t, visitor{alice, alice, true}, g.last(), "the caller chose whose session it is")
	before := g.Identities.Counts().Offered
	require.NoError(t, g.enter(dialed(scope, me.config(g)), alice))
	require.Equal(t, before, g.Identities.Counts().Offered)
	requireNoReuse(t, g.Identities)
}

func TestAGivenSessionThatCannotBeUsedIsAMiss(t *testing.T) {
	s := newSite(t, setup{})
	c, heard := listen(t, new(resume.ClientCache))
	e := bound(c.NewScope(), s.client)
	removed := e.received(t, s.Addr)
	require.True(t, c.Remove(removed))
	released := e.received(t, s.Addr).Retain()
	released.Release()
	for _, session := range []*resume.Session{removed, released} {
		given(s.client, session).full(t, s.Addr)
	}
	require.Equal(t, 2, heard.missing("removed")+heard.missing(""))
	for _, none := range []*resume.Session{nil, new(resume.Session)} {
		cache := none.ClientSessionCache()
		state, ok := cache.Get(host)
		require.False(t, ok)
		require.Nil(t, state)
		cache.Put(host, nil)
		given(s.client, none).full(t, s.Addr)
	}
	require.Zero(t, s.Identities.Counts().Offered)
}

// missing counts the misses of a reason.
func (h *heard) missing(reason string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == resume.SessionMissing && e.Reason == reason {
			n++
		}
	}
	return n
}

func TestDialTLSContextGivesARealTLSConn(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: s.client}
	for n := range 3 {
		conn, err := d.DialTLSContext(t.Context(), "tcp", s.Addr)
		require.NoError(t, err)
		require.Equal(t, n > 0, conn.(*tls.Conn).ConnectionState().DidResume)
		require.NoError(t, talk(conn))
		session := d.Scope.Get0Session(dialed(d.Scope, s.client).key(s.Addr))
		require.Equal(t, s.Addr, session.Info().Endpoint)
		require.NoError(t, conn.Close())
	}
	require.Equal(t, 2, requireNoReuse(t, s.Identities).Offered)
}

// The socket is there for who sets its options, as below a server's connection.
func TestTheSocketBelowATLSConnIsFound(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: s.client}
	conn, err := d.DialTLSContext(t.Context(), "tcp", s.Addr)
	require.NoError(t, err)
	defer conn.Close()
	wrapper, ok := conn.(*tls.Conn).NetConn().(interface{ NetConn() net.Conn })
	require.True(t, ok)
	socket, ok := wrapper.NetConn().(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, socket.SetNoDelay(false))
}

// What the connection refers to is let go when it is closed.
func TestATLSConnLetsGoOfItsSessionsWhenItIsClosed(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: s.client}
	conn, err := d.DialTLSContext(t.Context(), "tcp", s.Addr)
	require.NoError(t, err)
	require.NoError(t, talk(conn))
	borrowed := d.Scope.Get0Session(dialed(d.Scope, s.client).key(s.Addr))
	require.True(t, c.Remove(borrowed))
	require.Equal(t, resume.Removed, borrowed.Status(), "the connection has a reference")
	require.NoError(t, conn.Close())
	require.Equal(t, resume.Freed, borrowed.Status())
}

func TestHTTP2OverDialTLSContextResumes(t *testing.T) {
	site := newWebSite(t, 0)
	c := newCache(t, new(resume.ClientCache))
	config := site.client.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	d := &resume.Dialer{Scope: c.NewScope(), Config: config}
	tr := &http.Transport{DialTLSContext: d.DialTLSContext, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	client := &http.Client{Transport: tr}
	const turns = 4
	for turn := range turns {
		for range 3 {
			proto, resumed, err := web.Fetch(client, site.URL)
			require.NoError(t, err)
			require.Equal(t, "HTTP/2.0", proto)
			require.Equal(t, turn > 0, resumed, "Response.TLS")
		}
		tr.CloseIdleConnections()
	}
	st := c.Stats()
	assert.EqualValues(t, turns-1, st.Resumed)
	assert.EqualValues(t, 1, st.Full)
	assert.Equal(t, turns-1, requireNoReuse(t, site.seen).Offered)
}

// A ticket that was, or may have been, sent is used up, whatever became of it;
// one that was certainly not is given back.
func TestATicketThatMayHaveBeenSentIsUsedUp(t *testing.T) {
	list, keys := echKeys(t)
	long := make([]string, 100)
	for n := range long {
		long[n] = string(append([]byte{byte('a' + n%26), byte('a' + n/26)}, make([]byte, 200)...))
	}
	for _, row := range []struct {
		why    string
		server func(*tls.Config)
		client func(*tls.Config)
		status resume.Status
	}{
		{why: "a hello that can be read", status: resume.Resumable},
		{
			why:    "Encrypted Client Hello",
			server: func(c *tls.Config) { c.EncryptedClientHelloKeys = keys },
			client: func(c *tls.Config) { c.EncryptedClientHelloConfigList, c.MinVersion = list, tls.VersionTLS13 },
			status: resume.Used,
		}, {
			why:    "a hello split over records",
			server: func(c *tls.Config) { c.NextProtos = long[:1] },
			client: func(c *tls.Config) { c.NextProtos = long },
			status: resume.Used,
		},
	} {
		t.Run(row.why, func(t *testing.T) {
			if row.client == nil {
				row.client = func(*tls.Config) {}
			}
			s := newSite(t, setup{server: row.server})
			c := newCache(t, new(resume.ClientCache))
			scope := c.Scope("tenant")
			ours := bound(scope, s.with(row.client))
			theirs := bound(scope, s.with(func(c *tls.Config) {
				row.client(c)
				otherRoots(c) // crypto/tls refuses the ticket, and the server
			}))
			ours.full(t, s.Addr)
			ours.resumed(t, s.Addr)
			session := ours.Get1Session(host)
			defer session.Release()
			theirs.refuse(t, s.Addr)
			require.Equal(t, row.status, session.Status())
			if row.status == resume.Used {
				ours.full(t, s.Addr)
			}
			ours.resumed(t, s.Addr)
			requireNoReuse(t, s.Identities)
		})
	}
}

func TestAFailedDialTLSContextLeavesNothingBehind(t *testing.T) {
	s := newSite(t, setup{}) // checks for leaks
	c := newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: s.with(otherRoots)}
	for _, ctx := range []context.Context{t.Context(), cancelled()} {
		conn, err := d.DialTLSContext(ctx, "tcp", s.Addr)
		require.Error(t, err)
		require.Nil(t, conn)
	}
}

// echKeys are a key for Encrypted Client Hello, for both sides (the
// ECHConfigList of RFC 9849, Section 4).
func echKeys(t testing.TB) (list []byte, keys []tls.EncryptedClientHelloKey) {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	contents := []byte{1, 0, 0x20} // config_id, DHKEM(X25519, HKDF-SHA256)
	contents = appendVector16(contents, key.PublicKey().Bytes())
	contents = appendVector16(contents, []byte{0, 1, 0, 1}) // HKDF-SHA256, AES-128-GCM
	contents = append(contents, 32, byte(len(host)))        // maximum_name_length
	contents = append(append(contents, host...), 0, 0)      // public_name, extensions
	config := appendVector16([]byte{0xfe, 0x0d}, contents)  // version
	return appendVector16(nil, config), []tls.EncryptedClientHelloKey{{
		Config: config, PrivateKey: key.Bytes(), SendAsRetry: true,
	}}
}

func appendVector16(b, opaque []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(opaque))), opaque...)
}
