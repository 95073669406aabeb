package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// startHTTP3 starts a server. It wraps the sessions of its configuration once
// more, to keep its settings in them.
func startHTTP3(t testing.TB, server *http3.Server) (addr string) {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { server.Serve(socket) })
	t.Cleanup(func() {
		server.Close()
		running.Wait()
		socket.Close()
	})
	return socket.LocalAddr().String()
}

// http3Server answers with what it knows of the connection, and counts on the
// outside of the server's half what it is offered.
func (s *site) http3Server(cache *resume.ServerCache) *http3.Server {
	base := &tls.Config{Certificates: []tls.Certificate{s.cert}}
	server := newHTTP3Server(cache, base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s resumed: %t", r.Proto, r.TLS.DidResume)
	}))
	server.TLSConfig = tlstest.Counting(server.TLSConfig, s.seen)
	return server
}

// getHTTP3 makes a request over a connection of an http3.Transport. The
// server's ticket comes with the end of the handshake, and so before the
// answer. What is dialled early instead opens a stream before that end, where
// quic-go has a data race (its issue 4303); dialHTTP3 does without.
func getHTTP3(ctx context.Context, addr string, config *tls.Config) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var conn *quic.Conn
	transport := &http3.Transport{
		TLSClientConfig: config,
		Dial: func(ctx context.Context, addr string, tlsConfig *tls.Config, config *quic.Config) (_ *quic.Conn, err error) {
			conn, err = quic.DialAddr(ctx, addr, tlsConfig, config)
			return conn, err
		},
	}
	defer transport.Close()
	answer, err := askHTTP3(ctx, transport, addr)
	if err != nil {
		return false, err
	}
	return conn.ConnectionState().TLS.DidResume, agree(conn, answer)
}

// agree is an error if client and server have not seen the same.
func agree(conn *quic.Conn, answer string) error {
	if want := fmt.Sprintf("HTTP/3.0 resumed: %t", conn.ConnectionState().TLS.DidResume); answer != want {
		return fmt.Errorf("the server says %q, not %q", answer, want)
	}
	return nil
}

func askHTTP3(ctx context.Context, over http.RoundTripper, addr string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr, nil)
	if err != nil {
		return "", err
	}
	response, err := over.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return string(answer), err
}

// A visitor makes a connection, and closes it when it has its ticket.
type visitor func(ctx context.Context, addr string, config *tls.Config) (resumed, used0RTT bool, err error)

// dialHTTP3 makes a request over a connection that offers 0-RTT, which may be
// refused.
func dialHTTP3(ctx context.Context, addr string, config *tls.Config) (resumed, used0RTT bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	config = config.Clone()
	config.NextProtos = []string{http3.NextProtoH3}
	conn, err := dialQUIC(ctx, addr, config)
	if err != nil {
		return false, false, err
	}
	return goOn(ctx, conn)
}

func goOn(ctx context.Context, conn *quic.Conn) (resumed, used0RTT bool, err error) {
	defer conn.CloseWithError(0, "")
	conn, err = conn.NextConnection(ctx)
	if err != nil {
		return false, false, err
	}
	transport := new(http3.Transport)
	defer transport.Close()
	answer, err := askHTTP3(ctx, transport.NewClientConn(conn), conn.RemoteAddr().String())
	if err != nil {
		return false, false, err
	}
	state := conn.ConnectionState()
	return state.TLS.DidResume, state.Used0RTT, agree(conn, answer)
}

// quicHalves are servers' caches of each kind.
func quicHalves(t testing.TB) map[string]*resume.ServerCache {
	keys, err := ticket.NewKeyring([32]byte{2})
	require.NoError(t, err)
	return map[string]*resume.ServerCache{
		"memory":    new(resume.ServerCache),
		"stateless": {Keyring: keys},
		"store":     earlyFleet(t, 1)[0],
	}
}

// quicClients are clients with this layer and without it.
func (s *site) quicClients(t testing.TB) map[string]*tls.Config {
	plain := s.client.Clone()
	plain.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return map[string]*tls.Config{"this layer": newQUICConfig(newCache(t), s.client), "the standard cache": plain}
}

// tooSlow ends a test whose store was: each time it costs a resumption.
func tooSlow(t testing.TB, caches ...*resume.ServerCache) {
	t.Helper()
	for _, cache := range caches {
		if n := cache.Stats().StoreErrors; n > 0 {
			t.Skipf("%d calls of the store were too slow", n)
		}
	}
}

// A chorus is a ClientSessionCache that gives every connection a copy of one
// session, again and again. A copy, since quic-go writes to what it is given.
type chorus struct {
	ticket []byte
	state  []byte
}

// primed takes the session out of a cache that has one for the site.
func primed(t testing.TB, config *tls.Config) *chorus {
	t.Helper()
	cs, ok := config.ClientSessionCache.Get(config.ServerName)
	require.True(t, ok)
	ticket, state, err := cs.ResumptionState()
	require.NoError(t, err)
	bytes, err := state.Bytes()
	require.NoError(t, err)
	return &chorus{ticket, bytes}
}

func (c *chorus) Get(string) (*tls.ClientSessionState, bool) {
	state := tlstest.Must(tls.ParseSessionState(c.state))
	return tlstest.Must(tls.NewResumptionState(c.ticket, state)), true
}

func (c *chorus) Put(string, *tls.ClientSessionState) {}

// sing has a crowd present one ticket at once, to one server and the other, and
// returns how many were resumed.
func (s *site) sing(t testing.TB, visit visitor, crowd int, addrs ...string) (resumed int) {
	t.Helper()
	config := s.client.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	_, _, err := visit(t.Context(), addrs[0], config)
	require.NoError(t, err)
	config.ClientSessionCache = primed(t, config)
	var mu sync.Mutex
	next := 0
	together(t, crowd, func() error {
		mu.Lock()
		addr := addrs[next%len(addrs)]
		next++
		mu.Unlock()
		did, _, err := visit(t.Context(), addr, config)
		mu.Lock()
		defer mu.Unlock()
		if did {
			resumed++
		}
		return err
	})
	return resumed
}
