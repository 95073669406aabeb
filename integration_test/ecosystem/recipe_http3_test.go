package ecosystem_test

import (
	"crypto/tls"
	"net/http"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/tlsresume/tlsresume/resume"
)

// newHTTP3Server keeps sessions in a cache. The switch for 0-RTT has to say
// what the cache says: without a QUICConfig it is on.
func newHTTP3Server(cache *resume.ServerCache, config *tls.Config, handler http.Handler) *http3.Server {
	return &http3.Server{
		Handler:    handler,
		TLSConfig:  cache.TLSConfig(config),
		QUICConfig: &quic.Config{Allow0RTT: cache.EarlyData},
	}
}
