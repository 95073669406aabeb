package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// patience bounds everything a test waits for.
const patience = 20 * time.Second

var background = context.Background()

// A server is a redis-server of our own, in a directory of its own.
type server struct {
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd

	mu   sync.Mutex // guards text
	text strings.Builder
}

// startServer starts one that keeps nothing on disk unless it is told to. It
// is killed with the test.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	needServer(t)
	s, err := launch(t.TempDir(), args...)
	require.NoError(t, err)
	t.Cleanup(s.kill)
	return s
}

// launch is startServer without a test.
func launch(dir string, args ...string) (s *server, failure error) {
	for range 5 { // somebody may be faster to take the port
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s = &server{dir: dir, addr: net.JoinHostPort("127.0.0.1", port)}
		s.args = append([]string{
			"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		}, args...)
		failure = s.run()
		if failure == nil {
			return s, nil
		}
	}
	return nil, failure
}

// program is the server to test with: Redis, or Valkey if only that is there.
// TLSRESUME_REDIS_SERVER names another.
func program() (path string, err error) {
	names := []string{"redis-server", "valkey-server"}
	if name := os.Getenv("TLSRESUME_REDIS_SERVER"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", err
}

func needServer(t testing.TB) {
	t.Helper()
	if _, err := program(); err == nil {
		return
	}
	if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
		t.Fatal("redis-server is missing and peers are required")
	}
	t.Skip("redis-server is missing: nothing here was tested")
}

// freePort is below those that systems give to outgoing connections, which
// could otherwise have it when its server comes back.
func freePort() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, l.Close()
		}
	}
	return "", err
}

// run starts the process and waits until it says that it is ready.
func (s *server) run() error {
	path, err := program()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(path, s.args...)
	s.cmd.WaitDelay = patience
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan bool, 1)
	go s.read(out, ready)
	if <-ready {
		return nil
	}
	return fmt.Errorf("redis-server: %w:\n%s", s.cmd.Wait(), s.log())
}

func (s *server) read(out io.Reader, ready chan<- bool) {
	defer func() { ready <- false }() // a second word nobody reads
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.mu.Lock()
		fmt.Fprintln(&s.text, lines.Text())
		s.mu.Unlock()
		if strings.Contains(lines.Text(), "Ready to accept connections") || strings.Contains(lines.Text(), "+monitor master") {
			select {
			case ready <- true:
			default:
			}
		}
	}
}

func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// kill ends it as a loss of power would end its process.
func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil && s.cmd.ProcessState == nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// restart starts it again, where it was, with what it has on disk.
func (s *server) restart(t testing.TB) {
	t.Helper()
	s.kill()
	require.NoError(t, s.run())
}

func (s *server) port() int {
	_, port, _ := net.SplitHostPort(s.addr)
	n, _ := strconv.Atoi(port)
	return n
}

// client is one with the defaults, which retry.
func (s *server) client(t testing.TB) *redis.Client { return dialServer(t, s.addr) }

func dialServer(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { c.Close() })
	return c
}

// await waits for what has no event to wait for.
func await(t testing.TB, what string, there func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !there(); <-tick.C {
		require.True(t, time.Now().Before(deadline), "%s: not within %v", what, patience)
	}
}

// startReplica starts a replica of s and waits until it has all of it.
func (s *server) startReplica(t testing.TB, args ...string) *server {
	t.Helper()
	replica := startServer(t, append([]string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", s.port())}, args...)...)
	replica.awaitSync(t)
	return replica
}

func (s *server) awaitSync(t testing.TB) {
	t.Helper()
	c := s.client(t)
	defer c.Close()
	await(t, "the replica's first synchronisation", func() bool {
		return strings.Contains(c.Info(background, "replication").Val(), "master_link_status:up")
	})
}

// promote makes a replica a primary, as sentinels do.
func (s *server) promote(t testing.TB) {
	t.Helper()
	require.NoError(t, s.client(t).ReplicaOf(background, "NO", "ONE").Err())
}

// role is master or slave.
func (s *server) role(t testing.TB) string {
	c := s.client(t)
	defer c.Close()
	return c.InfoMap(background, "replication").Item("Replication", "role")
}

// A cluster is three primaries, each with a third of the slots.
type cluster struct{ nodes []*server }

const slots = 16384

func startCluster(t testing.TB, args ...string) *cluster {
	t.Helper()
	c := new(cluster)
	for range 3 {
		c.nodes = append(c.nodes, startNode(t, args...))
	}
	for i, node := range c.nodes {
		client := node.client(t)
		require.NoError(t, client.Do(background, "cluster", "set-config-epoch", i+1).Err())
		require.NoError(t, client.ClusterAddSlotsRange(background, i*slots/3, (i+1)*slots/3-1).Err())
		if i > 0 {
			node.meet(t, c.nodes[0])
		}
	}
	c.await(t)
	return c
}

func startNode(t testing.TB, args ...string) *server {
	t.Helper()
	port, err := freePort()
	require.NoError(t, err)
	return startServer(t, append([]string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", port,
	}, args...)...)
}

// meet introduces a node to another of a cluster.
func (s *server) meet(t testing.TB, other *server) {
	t.Helper()
	bus := other.client(t).ConfigGet(background, "cluster-port").Val()["cluster-port"]
	require.NoError(t, s.client(t).Do(background, "cluster", "meet", "127.0.0.1", other.port(), bus).Err())
}

// addReplica adds a replica of one of the nodes.
func (c *cluster) addReplica(t testing.TB, primary *server) (replica *server) {
	t.Helper()
	replica = startNode(t)
	replica.meet(t, primary)
	c.nodes = append(c.nodes, replica)
	c.await(t)
	require.NoError(t, replica.client(t).ClusterReplicate(background, primary.nodeID(t)).Err())
	replica.awaitSync(t)
	return replica
}

// nodeID is what the cluster calls it.
func (s *server) nodeID(t testing.TB) string {
	t.Helper()
	id, err := s.client(t).Do(background, "cluster", "myid").Text()
	require.NoError(t, err)
	return id
}

// await waits until all nodes know each other and serve.
func (c *cluster) await(t testing.TB) {
	t.Helper()
	for _, node := range c.nodes {
		client := node.client(t)
		await(t, "the cluster", func() bool {
			info := client.ClusterInfo(background).Val()
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.nodes)))
		})
	}
}

func (c *cluster) client(t testing.TB) *redis.ClusterClient {
	t.Helper()
	var addrs []string
	for _, node := range c.nodes {
		addrs = append(addrs, node.addr)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, DialerRetries: 1, MaxRetryBackoff: 20 * time.Millisecond,
	})
	t.Cleanup(func() { client.Close() })
	return client
}
