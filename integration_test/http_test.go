package integration_test

import (
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/web"
	"github.com/tlsresume/tlsresume/resume"
)

// A webSite counts the tickets that it is offered.
type webSite struct {
	*web.Site
	client *tls.Config
	seen   *tlstest.Identities
}

func newWebSite(t testing.TB, crowd int) *webSite {
	t.Helper()
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	seen := new(tlstest.Identities)
	site, err := web.Start(tlstest.Counting(&tls.Config{
		Certificates: []tls.Certificate{issue(ca, host)},
		NextProtos:   []string{"h2", "http/1.1"},
	}, seen), crowd)
	require.NoError(t, err)
	t.Cleanup(site.Close)
	return &webSite{site, &tls.Config{RootCAs: ca.Pool(), ServerName: host}, seen}
}

// transport is an http.Transport over TLSConfig, which it clones for each dial
// (rule T17). It is idle when the test ends.
func transport(t testing.TB, c *resume.ClientCache, base *tls.Config, http2 bool) *http.Transport {
	tr := &http.Transport{TLSClientConfig: c.TLSConfig(base), ForceAttemptHTTP2: http2}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// As in TestBurstsUseEveryTicketOnce there are at most as many full handshakes
// as connections at a time.
func TestHTTP1ResumesAllButTheFirstConnections(t *testing.T) {
	const crowd, turns = 8, 5
	site := newWebSite(t, crowd)
	c := newCache(t, new(resume.ClientCache))
	tr := transport(t, c, site.client, false)
	client := &http.Client{Transport: tr}
	var resumed atomic.Int64
	for range turns {
		var all errgroup.Group
		for range crowd {
			all.Go(func() error {
				proto, did, err := web.Fetch(client, site.URL+"/together")
				assert.Equal(t, "HTTP/1.1", proto)
				if did {
					resumed.Add(1)
				}
				return err
			})
		}
		require.NoError(t, all.Wait())
		tr.CloseIdleConnections()
	}
	counts := requireNoReuse(t, site.seen)
	assert.Equal(t, crowd*turns, counts.Connections)
	assert.EqualValues(t, resumed.Load(), counts.Offered)
	assert.GreaterOrEqual(t, counts.Offered, crowd*(turns-1))
	assert.EqualValues(t, crowd*turns, c.Stats().Captured)
}

func TestHTTP2ResumesEveryConnection(t *testing.T) {
	const turns = 5
	site := newWebSite(t, 0)
	c := newCache(t, new(resume.ClientCache))
	tr := transport(t, c, site.client, true)
	client := &http.Client{Transport: tr}
	for turn := range turns {
		// The first request makes the connection that the others share.
		for _, n := range []int{1, 8} {
			var all errgroup.Group
			for range n {
				all.Go(func() error {
					proto, resumed, err := web.Fetch(client, site.URL)
					assert.Equal(t, turn > 0, resumed, "in turn %d", turn)
					assert.Equal(t, "HTTP/2.0", proto)
					return err
				})
			}
			require.NoError(t, all.Wait())
		}
		tr.CloseIdleConnections()
	}
	counts := requireNoReuse(t, site.seen)
	assert.Equal(t, turns, counts.Connections)
	assert.Equal(t, turns-1, counts.Offered)
}

// A cold crowd makes net/http dial for each request, serve all of them over the
// first connection, and drop the others before they have read their tickets.
func TestHTTP2CrowdsUseEveryTicketOnce(t *testing.T) {
	const crowd, turns = 16, 6
	site := newWebSite(t, 0)
	c := newCache(t, new(resume.ClientCache))
	tr := transport(t, c, site.client, true)
	client := &http.Client{Transport: tr}
	for range turns {
		var all errgroup.Group
		for range crowd {
			all.Go(func() error {
				proto, _, err := web.Fetch(client, site.URL)
				assert.Equal(t, "HTTP/2.0", proto)
				return err
			})
		}
		require.NoError(t, all.Wait())
		tr.CloseIdleConnections()
	}
	counts := requireNoReuse(t, site.seen)
	// Not one for each turn: a dial that ends after CloseIdleConnections becomes
	// the idle connection that serves the next turn alone.
	assert.Positive(t, counts.Offered)
}
