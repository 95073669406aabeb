package ecosystem_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/web"
	"github.com/tlsresume/tlsresume/resume"
)

// A webSite is a site with a server.
type webSite struct {
	*site
	*web.Site
}

func newWebSite(crowd int, protos ...string) *webSite {
	s := newSite(protos...)
	return &webSite{s, tlstest.Must(web.Start(s.server, crowd))}
}

// exampleHTTP is a web site for an Example, which has no test to end it.
func exampleHTTP() (url string, client *tls.Config, stop func()) {
	w := newWebSite(0, "h2", "http/1.1")
	return w.URL, w.client, w.Close
}

// transports are the two recipes.
var transports = map[string]func(*resume.ClientCache, *tls.Config) *http.Transport{
	"TLSConfig": newTransport,
	"Dialer": func(c *resume.ClientCache, config *tls.Config) *http.Transport {
		return newBoundTransport(c.NewScope(), config)
	},
}

// A crowd of requests in HTTP/1.1 makes a crowd of connections, which the next
// crowd finds idle. However often they are closed and made again, there are no
// more full handshakes than connections at a time: each connection that takes a
// ticket brings one.
func TestHTTP1ResumesAllButTheFirstCrowd(t *testing.T) {
	const crowd, rounds = 32, 3
	for name, newTransport := range transports {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			site := newWebSite(crowd, "http/1.1")
			t.Cleanup(site.Close)
			cache := newCache(t)
			tr := newTransport(cache, site.client)
			tr.MaxIdleConnsPerHost = crowd
			t.Cleanup(tr.CloseIdleConnections)
			client := &http.Client{Transport: tr}
			for range rounds {
				for range 2 { // the second finds the first's connections idle
					together(t, crowd, func() error {
						proto, _, err := web.Fetch(client, site.URL+"/together")
						assert.Equal(t, "HTTP/1.1", proto)
						return err
					})
				}
				tr.CloseIdleConnections()
			}
			counts := requireNoReuse(t, site.seen)
			// net/http closes, and makes again, a connection whose goroutines are
			// slow to agree that a request was written (50 ms).
			assert.GreaterOrEqual(t, counts.Connections, crowd*rounds)
			assert.LessOrEqual(t, counts.Connections-counts.Offered, crowd, "full handshakes")
			assert.EqualValues(t, counts.Offered, cache.Stats().Resumed)
		})
	}
}

// The first request makes the connection that the others share.
func TestHTTP2ResumesEveryConnection(t *testing.T) {
	const rounds = 4
	for name, newTransport := range transports {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			site := newWebSite(0, "h2", "http/1.1")
			t.Cleanup(site.Close)
			cache := newCache(t)
			tr := newTransport(cache, site.client)
			t.Cleanup(tr.CloseIdleConnections)
			client := &http.Client{Transport: tr}
			for round := range rounds {
				for _, n := range []int{1, 16} {
					together(t, n, func() error {
						proto, resumed, err := web.Fetch(client, site.URL)
						assert.Equal(t, "HTTP/2.0", proto)
						assert.Equal(t, round > 0, resumed, "in round %d", round)
						return err
					})
				}
				tr.CloseIdleConnections()
			}
			counts := requireNoReuse(t, site.seen)
			assert.Equal(t, rounds, counts.Connections)
			assert.Equal(t, rounds-1, counts.Offered)
		})
	}
}

// A cold crowd makes net/http dial for each request and then serve all of them
// over the first connection. Those it drops may not have read their tickets:
// that costs full handshakes, never a second use.
func TestHTTP2CrowdsUseEveryTicketOnce(t *testing.T) {
	const crowd, rounds = 16, 5
	for name, newTransport := range transports {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			site := newWebSite(0, "h2", "http/1.1")
			t.Cleanup(site.Close)
			tr := newTransport(newCache(t), site.client)
			t.Cleanup(tr.CloseIdleConnections)
			client := &http.Client{Transport: tr}
			for range rounds {
				together(t, crowd, func() error {
					proto, _, err := web.Fetch(client, site.URL)
					assert.Equal(t, "HTTP/2.0", proto)
					return err
				})
				tr.CloseIdleConnections()
			}
			counts := requireNoReuse(t, site.seen)
			// Not one per round: a dial that ends after CloseIdleConnections
			// makes the idle connection that serves the next round alone.
			require.Positive(t, counts.Offered)
		})
	}
}
