package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// getLine makes a request over a connection of its own.
func getLine(t testing.TB, addr string, config *tls.Config, h2 bool) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + addr + "/")
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestHTTPServersResumeOverTheListener(t *testing.T) {
	for _, kind := range innKinds {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(kind.name, " HTTP/2 ", h2), func(t *testing.T) {
				n := newInn(t, kind)
				config := n.client.Clone()
				config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
				protocol := "HTTP/1.1"
				if h2 {
					protocol = "HTTP/2.0"
				}
				for turn := range 4 {
					got := getLine(t, n.Addr, config, h2)
					n.settled(t)
					require.Equal(t, fmt.Sprintf("%s resumed=%t\n", protocol, turn > 0), got)
				}
				requireServerBooks(t, n.cache)
			})
		}
	}
}

// requireServerBooks holds that every session is counted in one place.
func requireServerBooks(t testing.TB, c *resume.ServerCache) {
	t.Helper()
	st := c.Stats()
	sum := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed + st.Kept + st.Stored
	require.Equal(t, st.Captured+st.Fetched, sum, st.String())
}

// A handler finds its session by the connection that ConnContext is given.
func TestAHandlerSeesItsSession(t *testing.T) {
	leakCheck(t)
	type key struct{}
	ca := tlstest.Must(tlstest.NewCA("root"))
	cache := new(resume.ServerCache)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context { return context.WithValue(ctx, key{}, conn) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			info := cache.Get0Session(r.Context().Value(key{}).(net.Conn)).Info()
			fmt.Fprint(w, info.ServerName, " ", info.ALPN, " ", info.Resumptions, " ", info.Endpoint == r.RemoteAddr)
		}),
	}
	base := &tls.Config{Certificates: []tls.Certificate{issue(ca, host)}, NextProtos: []string{"h2", "http/1.1"}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(cache.NewListener(inner, base)) }()
	config := &tls.Config{RootCAs: ca.Pool(), ServerName: host, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	for turn := range 3 {
		require.Equal(t, fmt.Sprintf("server.test h2 %d true", turn), getLine(t, inner.Addr().String(), config, true))
	}
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
}

// ServeTLS clones the configuration and changes it: certificates, protocols.
func TestServersThatChangeTheConfigurationResume(t *testing.T) {
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	certFile, keyFile, err := tlstest.WriteFiles(t.TempDir(), issue(ca, host))
	require.NoError(t, err)
	cache := new(resume.ServerCache)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{
		TLSConfig: cache.TLSConfig(nil),
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, r.TLS.DidResume) }),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(inner, certFile, keyFile) }()
	config := &tls.Config{RootCAs: ca.Pool(), ServerName: host, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	for turn := range 3 {
		require.Equal(t, fmt.Sprint("HTTP/2.0", turn > 0), getLine(t, inner.Addr().String(), config, true))
	}
	require.NoError(t, server.Close())
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Fatal(err)
	}
	requireServerBooks(t, cache)
}
