package resume

import (
	"context"
	"crypto/tls"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// To close the writing side as soon as crypto/tls allows it, before the
// connection has noted how the handshake ended, touches nothing that noting it
// does. The race detector is the judge.
func TestCloseWriteAtTheEndOfAHandshakeRacesWithNothing(t *testing.T) {
	p, scope := newPeer(t), new(ClientCache).NewScope()
	for range 20 {
		p.bound(t, scope, true)
		c := scope.NewConn(p.serve(), p.client)
		done := make(chan error, 1)
		go func() { done <- c.Handshake() }()
		for c.CloseWrite() != nil { // until the handshake is over
		}
		require.NoError(t, <-done)
		c.Close()
	}
}

// A deadline that the application sets while WaitSession reads holds for the
// Reads that follow, also when nothing but the ticket ended that.
func TestReadDeadlineSetBesideWaitSessionHoldsForLaterReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(server, _ *tls.Config) { server.ClientAuth = tls.RequestClientCert })
		client, server := tlstest.Pipe()
		go func() {
			conn := tls.Server(&slow{server, []time.Duration{0, 10 * time.Millisecond}}, p.server)
			conn.Handshake()
			conn.Read(make([]byte, 1))
		}()
		conn := new(ClientCache).NewScope().NewConn(client, p.client)
		defer server.Close()
		defer conn.Close()
		require.NoError(t, conn.Handshake())
		waited := make(chan error, 1)
		go func() {
			_, err := conn.WaitSession(context.Background())
			waited <- err
		}()
		synctest.Wait() // it reads
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
		require.NoError(t, <-waited)
		defer time.AfterFunc(time.Minute, func() { server.Close() }).Stop()
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// WaitSession gives way to a Read, whose deadline it would sit out otherwise.
func TestReadIsNotHeldUpByWaitSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, func(server, _ *tls.Config) { server.SessionTicketsDisabled = true })
		client, server := tlstest.Pipe()
		go tls.Server(server, p.server).Handshake() // and no more
		conn := new(ClientCache).NewScope().NewConn(client, p.client)
		defer server.Close()
		defer conn.Close()
		require.NoError(t, conn.Handshake())
		waited := make(chan error, 1)
		go func() {
			_, err := conn.WaitSession(t.Context())
			waited <- err
		}()
		synctest.Wait() // it reads
		defer time.AfterFunc(time.Minute, func() { server.Close() }).Stop()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Empty(t, waited)
		require.NoError(t, conn.Close())
		require.ErrorIs(t, <-waited, ErrNoTicket)
	})
}

// A callback that panics over one session of a connection that failed does not
// save the others.
func TestForfeitReachesAllSessionsThoughACallbackPanics(t *testing.T) {
	c := &ClientCache{RemoveSession: func(*Session) { panic("by the user") }}
	scope, m := c.NewScope(), newMint(t)
	conn := receiver(scope)
	var all []*Session
	for range 3 {
		conn.shim.Put("", m.session())
		all = append(all, conn.Get1Session())
	}
	require.PanicsWithValue(t, "by the user", func() { conn.forfeit(failedAlert) })
	for _, h := range all {
		require.Equal(t, "alert", h.Reason())
		h.Release()
	}
	conn.end()
	for _, h := range all {
		require.Zero(t, h.s.refs.Load())
	}
}

// crypto/tls would begin a handshake anew that a callback broke off. It gets no
// second session for that: nobody would settle it.
func TestHandshakeBrokenOffByAPanicTakesOneSessionOnly(t *testing.T) {
	broken := false
	p := newPeer(t, func(_, client *tls.Config) {
		client.VerifyConnection = func(tls.ConnectionState) error {
			if broken {
				panic("by the user")
			}
			return nil
		}
	})
	c := new(ClientCache)
	scope := c.NewScope()
	p.stock(t, scope, 2)
	broken = true
	conn := scope.NewConn(p.serve(), p.client)
	require.PanicsWithValue(t, "by the user", func() { conn.Handshake() })
	broken = false
	require.Error(t, conn.Handshake())
	conn.Close()
	st := checkStats(t, c)
	require.EqualValues(t, 1, st.Used)
	require.Equal(t, 1, st.Pooled)
	require.True(t, p.bound(t, scope, false).ConnectionState().DidResume)
}

// A renegotiation verifies the server again, while others may be looking at
// what the handshake has left: that stays as it is.
func TestRenegotiationLeavesTheFactsOfTheHandshakeAlone(t *testing.T) {
	asked := 0
	p := newPeer(t, tls12, func(_, client *tls.Config) {
		client.VerifyConnection = func(tls.ConnectionState) error { asked++; return nil }
	})
	conn := p.bound(t, new(ClientCache).NewScope(), true)
	before := conn.facts
	require.NoError(t, conn.shim.config.VerifyConnection(tls.ConnectionState{Version: tls.VersionTLS12}))
	require.Equal(t, 2, asked)
	require.Equal(t, before, conn.facts)
}

// Observe gets the Conn of DialTLSContext, too, and may wait for its session.
// What comes in is read by who has the tls.Conn, under the deadline he has set.
func TestWaitSessionReadsNothingFromWhoHasTheTLSConn(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{
		SessionTicketsDisabled: true, // it goes on waiting
		Certificates:           []tls.Certificate{tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{serverName}}))},
	}}))
	defer server.Close()
	observed := make(chan *Conn, 1)
	c := &ClientCache{Observe: func(e Event) {
		if e.Kind == HandshakeDone {
			observed <- e.Conn
		}
	}}
	dialer := &Dialer{Scope: c.NewScope(), Config: &tls.Config{RootCAs: ca.Pool(), ServerName: serverName}}
	conn := tlstest.Must(dialer.DialTLSContext(t.Context(), "tcp", server.Addr))
	defer conn.Close()
	watched := <-observed
	got := make(chan error)
	go func() {
		_, err := watched.WaitSession(t.Context())
		got <- err
	}()
	time.Sleep(20 * time.Millisecond) // until it waits
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
	exchange(t, conn)
	conn.Close()
	require.ErrorIs(t, <-got, ErrNoTicket)
}
