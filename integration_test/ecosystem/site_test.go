package ecosystem_test

import (
	"context"
	"crypto/tls"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/expect"
	"github.com/tlsresume/tlsresume/resume"
)

// patience bounds everything a test waits for.
const patience = 20 * time.Second

// A site is what a server on loopback needs to be spoken to in TLS and to
// count what it is offered.
type site struct {
	ca     *tlstest.CA
	cert   tls.Certificate
	server *tls.Config // counts into seen
	client *tls.Config // trusts it
	seen   *tlstest.Identities
}

func newSite(protos ...string) *site {
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	seen := new(tlstest.Identities)
	return &site{
		ca:     ca,
		cert:   cert,
		seen:   seen,
		server: counting(cert, seen, protos),
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"},
	}
}

// sibling is another server of the same name, with ticket keys of its own.
func (s *site) sibling(protos ...string) *site {
	other := *s
	other.server = counting(s.cert, s.seen, protos)
	return &other
}

func counting(cert tls.Certificate, seen *tlstest.Identities, protos []string) *tls.Config {
	return tlstest.Counting(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protos}, seen)
}

// What every test expects.
var (
	leakCheck      = expect.NoLeaks
	requireNoReuse = expect.NoReuse
)

// newCache is a cache whose books are checked when the test ends.
func newCache(t testing.TB) *resume.ClientCache {
	return expect.Books(t, new(resume.ClientCache))
}

// together runs f n times at once.
func together(t testing.TB, n int, f func() error) {
	t.Helper()
	var all errgroup.Group
	for range n {
		all.Go(f)
	}
	require.NoError(t, all.Wait())
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// peerMissing skips the test, or fails it where peers are required.
func peerMissing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
		t.Fatalf("peers are required: %s", why)
	}
	t.Skipf("without this peer: %s", why)
}
