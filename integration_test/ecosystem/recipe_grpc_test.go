package ecosystem_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tlsresume/tlsresume/resume"
)

// newGRPCCredentials is for all clients of one identity and trust: those that
// share the credentials share the sessions.
func newGRPCCredentials(cache *resume.ClientCache, config *tls.Config) grpc.DialOption {
	return grpc.WithTransportCredentials(credentials.NewTLS(cache.TLSConfig(config)))
}

// newBoundGRPCCredentials do so with the layer's own connections, which know
// their endpoint. The configuration needs a ServerName.
func newBoundGRPCCredentials(scope *resume.Scope, config *tls.Config) grpc.DialOption {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	return grpc.WithTransportCredentials(&boundCredentials{credentials.NewTLS(config), scope, config})
}

type boundCredentials struct {
	credentials.TransportCredentials
	scope  *resume.Scope
	config *tls.Config
}

func (c *boundCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := c.scope.NewConn(raw, c.config)
	err := conn.HandshakeContext(ctx)
	if err == nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("the server does not speak HTTP/2")
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

func (c *boundCredentials) Clone() credentials.TransportCredentials {
	clone := *c
	return &clone
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
