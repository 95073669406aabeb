package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tlsresume/tlsresume/resume"
)

// newGRPCCredentials is for all clients of one identity and trust: those that
// share the credentials share the sessions.
func newGRPCCredentials(cache *resume.ClientCache, config *tls.Config) grpc.DialOption {
	return grpc.WithTransportCredentials(credentials.NewTLS(cache.TLSConfig(config)))
}

func Example_gRPC() {
	addr, config, stop := exampleGRPC()
	defer stop()

	var cache resume.ClientCache
	creds := newGRPCCredentials(&cache, config)
	for range 3 {
		conn, err := grpc.NewClient(addr, creds)
		if err != nil {
			fmt.Println(err)
			return
		}
		resumed, err := check(context.Background(), conn)
		fmt.Println("resumed:", resumed, err)
		conn.Close()
	}
	// Output:
	// resumed: false <nil>
	// resumed: true <nil>
	// resumed: true <nil>
}
