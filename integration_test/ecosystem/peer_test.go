//go:build unix

package ecosystem_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// startPeer runs a real server until the test ends, and waits until it listens:
// with a TCP connection and no more, for a handshake would cost a ticket.
func startPeer(t testing.TB, cmd *exec.Cmd, addr string) {
	t.Helper()
	// A file, not a pipe: what the server has forked may outlive it.
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	over := make(chan struct{})
	go func() {
		cmd.Wait() // what it says of an end that was asked for is no news
		close(over)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) // PostgreSQL ends its children first
		select {
		case <-over:
		case <-time.After(patience):
			cmd.Process.Kill()
			<-over
		}
		output.Close()
		if printed, _ := os.ReadFile(output.Name()); t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, printed)
		}
	})
	awaitListener(t, addr, over)
}

func awaitListener(t testing.TB, addr string, over <-chan struct{}) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-over:
			require.FailNow(t, "the server ended at once")
		case <-deadline:
			require.FailNow(t, "the server does not listen")
		}
	}
}

// lookPeer is where a server's program is, or the end of the test.
func lookPeer(t testing.TB, program, debian string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} { // not in everybody's PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	peerMissing(t, program+", of the Debian package "+debian)
	return ""
}

// freeAddr is a port of 127.0.0.1 that was free a moment ago.
func freeAddr(t testing.TB) (addr, port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = listener.Addr().String()
	require.NoError(t, listener.Close())
	return addr, portOf(addr)
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// proxyTo counts, into the site, what goes by to a server that does not.
func (s *site) proxyTo(t testing.TB, target string) *tlstest.Proxy {
	t.Helper()
	proxy, err := tlstest.NewProxyAt("127.0.0.1:0", target, 64, s.seen)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	return proxy
}

// files are the site's certificate and key, for a server's configuration.
func (s *site) files(t testing.TB) (cert, key string) {
	t.Helper()
	cert, key, err := tlstest.WriteFiles(t.TempDir(), s.cert)
	require.NoError(t, err)
	return cert, key
}
