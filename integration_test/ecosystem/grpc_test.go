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
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A grpcServer serves the standard health service.
type grpcServer struct {
	*site
	*cutter
	addr string
	stop func()
}

func newGRPCServer() *grpcServer { return serveGRPC(newSite("h2")) }

func serveGRPC(site *site) *grpcServer {
	s := &grpcServer{
		site:   site,
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
	server, err := call(ctx, conn)
	if err != nil {
		return false, err
	}
	info, ok := server.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return false, errors.New("not a TLS connection")
	}
	return info.State.DidResume, nil
}

// call makes a call and says who answered it.
func call(ctx context.Context, conn *grpc.ClientConn) (server peer.Peer, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{},
		grpc.Peer(&server), grpc.WaitForReady(true))
	return server, err
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

// An endings is a stats.Handler that tells when the client has noticed the end
// of a connection, and sends no call over it any more. GetState does not say
// so: it may lag behind the calls that succeed.
type endings chan struct{}

func (endings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (endings) HandleRPC(context.Context, stats.RPCStats)                         {}
func (endings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (e endings) HandleConn(_ context.Context, happened stats.ConnStats) {
	if _, ended := happened.(*stats.ConnEnd); ended {
		e <- struct{}{}
	}
}

func (e endings) wait(t testing.TB) {
	t.Helper()
	select {
	case <-e:
	case <-bounded(t).Done():
		require.FailNow(t, "the client did not notice the end of its connection")
	}
}

// grpcRecipes are the two ways to write it.
var grpcRecipes = map[string]func(*resume.ClientCache, *tls.Config) grpc.DialOption{
	"TLSConfig": newGRPCCredentials,
	"NewConn": func(c *resume.ClientCache, config *tls.Config) grpc.DialOption {
		return newBoundGRPCCredentials(c.NewScope(), config)
	},
}

func TestGRPCReconnectsWithANewTicketEachTime(t *testing.T) {
	const rounds = 6
	for name, newCredentials := range grpcRecipes {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			server := newGRPCServer()
			t.Cleanup(server.stop)
			ended := make(endings, rounds)
			conn, err := grpc.NewClient(server.addr,
				newCredentials(newCache(t), server.client), grpc.WithStatsHandler(ended))
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			for round := range rounds {
				for range 3 {
					resumed, err := check(t.Context(), conn)
					require.NoError(t, err)
					require.Equal(t, round > 0, resumed, "in round %d", round)
				}
				server.cut()
				ended.wait(t)
			}
			counts := requireNoReuse(t, server.seen)
			assert.Equal(t, rounds, counts.Connections)
			assert.Equal(t, rounds-1, counts.Offered)
		})
	}
}

// Clients that share credentials share sessions, and no two of them one ticket.
func TestGRPCClientsShareSessionsAndNoTicket(t *testing.T) {
	const clients, rounds = 16, 4
	for name, newCredentials := range grpcRecipes {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			server := newGRPCServer()
			t.Cleanup(server.stop)
			cache := newCache(t)
			creds := newCredentials(cache, server.client)
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
		})
	}
}

// Two backends of one name do not know each other's tickets. The bound recipe
// learns that from one refusal, and sends each its own from then on.
func TestGRPCBackendsWithKeysOfTheirOwnGetTheirOwnTickets(t *testing.T) {
	const rounds = 10
	leakCheck(t)
	first := newGRPCServer()
	t.Cleanup(first.stop)
	second := serveGRPC(first.sibling("h2"))
	t.Cleanup(second.stop)
	cache := newCache(t)
	backends := manual.NewBuilderWithScheme("backends")
	backends.InitialState(resolver.State{Endpoints: []resolver.Endpoint{
		{Addresses: []resolver.Address{{Addr: first.addr}}},
		{Addresses: []resolver.Address{{Addr: second.addr}}},
	}})
	options := []grpc.DialOption{
		newBoundGRPCCredentials(cache.NewScope(), first.client),
		grpc.WithResolvers(backends),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	}
	for range rounds {
		conn, err := grpc.NewClient("backends:///", options...)
		require.NoError(t, err)
		answered := make(map[string]bool)
		for ctx := bounded(t); len(answered) < 2; {
			server, err := call(ctx, conn)
			require.NoError(t, err)
			answered[server.Addr.String()] = true
		}
		require.NoError(t, conn.Close())
	}
	requireNoReuse(t, first.seen)
	stats := cache.Stats()
	assert.EqualValues(t, 2*rounds, stats.Full+stats.Resumed)
	// One cold handshake each, and one more if the second's cost the first's
	// ticket.
	assert.LessOrEqual(t, stats.Full, uint64(3))
}
