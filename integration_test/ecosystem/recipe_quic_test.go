package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/quic-go/quic-go"

	"github.com/tlsresume/tlsresume/resume"
)

// newQUICConfig is for QUIC alone: a scope that TCP shares would give its
// connections tickets made for 0-RTT, which QUIC then lacks.
func newQUICConfig(cache *resume.ClientCache, base *tls.Config) *tls.Config {
	return cache.NewScope().TLSConfig(base)
}

// dialQUIC returns before the handshake has ended. What is written until then
// goes out in 0-RTT if there is a ticket: anybody can replay it to the server.
func dialQUIC(ctx context.Context, addr string, config *tls.Config) (*quic.Conn, error) {
	return quic.DialAddrEarly(ctx, addr, config, nil)
}

func Example_quic() {
	addr, base, stop := exampleQUIC()
	defer stop()

	var cache resume.ClientCache
	config := newQUICConfig(&cache, base)
	for range 3 {
		conn, err := dialQUIC(context.Background(), addr, config)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, err := ask(context.Background(), conn)
		state := conn.ConnectionState()
		fmt.Println(answer, "resumed:", state.TLS.DidResume, "0-RTT:", state.Used0RTT, err)
		conn.CloseWithError(0, "")
	}
	// Output:
	// HELLO resumed: false 0-RTT: false <nil>
	// HELLO resumed: true 0-RTT: true <nil>
	// HELLO resumed: true 0-RTT: true <nil>
}
