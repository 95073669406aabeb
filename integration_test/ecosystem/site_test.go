package ecosystem_test

import (
	"context"
	"crypto/tls"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
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

// requireNoReuse holds the law of the house, from the server's side.
func requireNoReuse(t testing.TB, seen *tlstest.Identities) tlstest.Counts {
	t.Helper()
	counts := seen.Counts()
	require.Zero(t, counts.Reused, "connections that offered a ticket another had offered")
	return counts
}

// newCache is a cache whose books are checked when the test ends.
func newCache(t testing.TB) *resume.ClientCache {
	c := new(resume.ClientCache)
	t.Cleanup(func() {
		st := c.Stats()
		sum := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed + st.Kept + st.Stored
		assert.Equal(t, st.Captured+st.Fetched, sum, st.String())
		assert.Zero(t, st.Handles, "counted handles that nobody released")
	})
	return c
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

// leakCheck fails the test if it leaves goroutines behind. What was to be
// cleaned up before it must be registered after it.
func leakCheck(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; <-tick.C {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				t.Errorf("%d goroutines before, %d after:\n%s", before, strings.Count(string(stacks), "goroutine "), stacks)
				return
			}
		}
	})
}

// peerMissing skips the test, or fails it where peers are required.
func peerMissing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
		t.Fatalf("peers are required: %s", why)
	}
	t.Skipf("without this peer: %s", why)
}
