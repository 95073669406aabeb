package integration_test

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// An inn is an HTTP server on loopback with a ServerCache. It answers each
// request with one line: the protocol and whether the connection resumed.
type inn struct {
	Addr   string
	cache  *resume.ServerCache
	base   *tls.Config
	client *tls.Config
	ca     *tlstest.CA
	caFile string

	mu     sync.Mutex // guards events
	events []resume.Event
}

// An innKind is where a server has its sessions.
type innKind struct {
	name   string
	once   bool // tickets are used once
	change func(t testing.TB, c *resume.ServerCache)
}

var innKinds = []innKind{
	{"memory", true, func(testing.TB, *resume.ServerCache) {}},
	{"store", true, func(t testing.TB, c *resume.ServerCache) {
		c.Store = resume.Seal(openDir(t, t.TempDir()), newRing(t))
	}},
	{"stateless", false, func(t testing.TB, c *resume.ServerCache) { c.Keyring = newRing(t) }},
}

func openDir(t testing.TB, dir string) *dirstore.Store {
	store, err := dirstore.Open(dir, dirstore.Options{})
	require.NoError(t, err)
	return store
}

func newRing(t testing.TB) *ticket.Keyring {
	var key [32]byte
	rand.Read(key[:])
	keys, err := ticket.NewKeyring(key)
	require.NoError(t, err)
	return keys
}

func newInn(t testing.TB, kind innKind, change ...func(*tls.Config)) *inn {
	t.Helper()
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	n := &inn{ca: ca, cache: new(resume.ServerCache)}
	n.cache.Observe = n.note
	kind.change(t, n.cache)
	n.base = &tls.Config{
		Certificates: []tls.Certificate{issue(ca, host, "localhost", "127.0.0.1")},
		NextProtos:   []string{"h2", "http/1.1"},
	}
	n.client = &tls.Config{RootCAs: ca.Pool(), ServerName: host}
	for _, f := range change {
		f(n.base)
	}
	n.caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(n.caFile, ca.PEM(), 0o600))
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.Addr = inner.Addr().String()
	n.serve(t, n.cache.NewListener(inner, n.base))
	return n
}

func (n *inn) serve(t testing.TB, listener net.Listener) {
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "%s resumed=%t\n", r.Proto, r.TLS.DidResume)
		}),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		n.cache.Close()
	})
}

func (n *inn) note(e resume.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

// handshakes says of each that succeeded so far whether it resumed.
func (n *inn) handshakes() (resumed []bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.Kind == resume.HandshakeDone {
			resumed = append(resumed, e.Resumed)
		}
	}
	return resumed
}

// settled skips the rest of a test whose server had to do without its store, as
// it does when that takes over 50 ms: what resumes then says more of the machine.
func (n *inn) settled(t testing.TB) {
	t.Helper()
	if slow := n.cache.Stats().StoreErrors; slow > 0 {
		t.Skipf("the store failed or was too slow %d times: this machine is too busy", slow)
	}
}

func (n *inn) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = nil
}

func (n *inn) port() string {
	_, port, _ := net.SplitHostPort(n.Addr)
	return port
}
