package ecosystem_test

import (
	"crypto/tls"
	"fmt"
	"net/http"

	"github.com/tlsresume/tlsresume/internal/tlstest/web"
	"github.com/tlsresume/tlsresume/resume"
)

// newTransport resumes in HTTP/1.1 and HTTP/2. Make one and keep it: each call
// of TLSConfig begins a security domain of its own.
func newTransport(cache *resume.ClientCache, config *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig:   cache.TLSConfig(config),
		ForceAttemptHTTP2: true, // a custom configuration turns HTTP/2 off otherwise
	}
}

// newBoundTransport does so with a Dialer, which knows of each connection which
// ticket it offered and received.
func newBoundTransport(scope *resume.Scope, config *tls.Config) *http.Transport {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"} // nobody else sets them
	dialer := &resume.Dialer{Scope: scope, Config: config}
	return &http.Transport{
		DialTLSContext:    dialer.DialTLSContext, // not DialContext: HTTP/2 needs a *tls.Conn
		ForceAttemptHTTP2: true,
	}
}

func Example_netHTTP() {
	url, config, stop := exampleHTTP()
	defer stop()

	var cache resume.ClientCache
	for _, transport := range []*http.Transport{
		newTransport(&cache, config),
		newBoundTransport(cache.NewScope(), config),
	} {
		client := &http.Client{Transport: transport}
		for range 3 {
			proto, resumed, err := web.Fetch(client, url)
			fmt.Println(proto, "resumed:", resumed, err)
			transport.CloseIdleConnections()
		}
	}
	// Output:
	// HTTP/2.0 resumed: false <nil>
	// HTTP/2.0 resumed: true <nil>
	// HTTP/2.0 resumed: true <nil>
	// HTTP/2.0 resumed: false <nil>
	// HTTP/2.0 resumed: true <nil>
	// HTTP/2.0 resumed: true <nil>
}
