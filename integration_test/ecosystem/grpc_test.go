package ecosystem_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A grpcServer serves the standard health service.
type grpcServer struct {
	*site
	*cutter
	addr string
	stop func()
}

func newGRPCServer() *grpcServer {
	s := &grpcServer{
		site:   newSite("h2"),
		cutter: &cutter{Listener: tlstest.Must(net.Listen("tcp", "127.0.0.1:0"))},
	}
	s.addr = s.Addr().String()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(s.server)))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	var running sync.WaitGroup
	running.Go(func() { server.Serve(s.cutter) })
	s.stop = func() {
		server.Stop()
		running.Wait()
	}
	return s
}

// exampleGRPC is a server for an Example, which has no test to end it.
func exampleGRPC() (addr string, client *tls.Config, stop func()) {
	s := newGRPCServer()
	return s.addr, s.client, s.stop
}

// check makes a call and says whether its connection was resumed.
func check(ctx context.Context, conn *grpc.ClientConn) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var server peer.Peer
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{},
		grpc.Peer(&server), grpc.WaitForReady(true))
	if err != nil {
		return false, err
	}
	info, ok := server.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return false, errors.New("not a TLS connection")
	}
	return info.State.DidResume, nil
}

// A cutter is a listener that can cut all connections it has made, as a
// network does.
type cutter struct {
	net.Listener
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// untilOver returns when the client has noticed the end of its connection.
func untilOver(t testing.TB, conn *grpc.ClientConn) {
	t.Helper()
	ctx := bounded(t)
	for state := conn.GetState(); state == connectivity.Ready; state = conn.GetState() {
		require.True(t, conn.WaitForStateChange(ctx, state), "the connection did not end")
	}
}

func TestGRPCReconnectsWithANewTicketEachTime(t *testing.T) {
	const rounds = 6
	leakCheck(t)
	server := newGRPCServer()
	t.Cleanup(server.stop)
	cache := newCache(t)
	conn, err := grpc.NewClient(server.addr, newGRPCCredentials(cache, server.client))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	for round := range rounds {
		for range 3 {
			resumed, err := check(t.Context(), conn)
			require.NoError(t, err)
			require.Equal(t, round > 0, resumed, "in round %d", round)
		}
		server.cut()
		untilOver(t, conn)
	}
	counts := requireNoReuse(t, server.seen)
	assert.Equal(t, rounds, counts.Connections)
	assert.Equal(t, rounds-1, counts.Offered)
}

// Clients that share credentials share sessions, and no two of them one ticket.
func TestGRPCClientsShareSessionsAndNoTicket(t *testing.T) {
	const clients, rounds = 16, 4
	leakCheck(t)
	server := newGRPCServer()
	t.Cleanup(server.stop)
	cache := newCache(t)
	creds := newGRPCCredentials(cache, server.client)
	for range rounds {
		together(t, clients, func() error {
			conn, err := grpc.NewClient(server.addr, creds)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = check(t.Context(), conn)
			return err
		})
	}
	counts := requireNoReuse(t, server.seen)
	assert.Equal(t, clients*rounds, counts.Connections)
	assert.GreaterOrEqual(t, counts.Offered, clients*(rounds-1))
	assert.EqualValues(t, counts.Offered, cache.Stats().Resumed)
}
