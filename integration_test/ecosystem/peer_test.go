//go:build unix

package ecosystem_test

import (
	"bytes"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// startPeer runs a real server until the test ends, and waits until it listens:
// with a TCP connection and no more, for a handshake would cost a ticket.
func startPeer(t testing.TB, cmd *exec.Cmd, addr string) {
	t.Helper()
	output := new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	over := make(chan struct{})
	go func() {
		cmd.Wait() // "signal: killed" is what will be asked for
		close(over)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-over
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, output)
		}
	})
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
			require.FailNow(t, "ended at once", "%s:\n%s", cmd, output)
		case <-deadline:
			require.FailNow(t, "does not listen", "%s:\n%s", cmd, output)
		}
	}
}

// lookPeer is where a server's program is, or the end of the test.
func lookPeer(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		peerMissing(t, program+", of the Debian package "+debian)
	}
	return path
}

// freeAddr is a port of 127.0.0.1 that was free a moment ago.
func freeAddr(t testing.TB) (addr, port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = listener.Addr().String()
	require.NoError(t, listener.Close())
	_, port, err = net.SplitHostPort(addr)
	require.NoError(t, err)
	return addr, port
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

// A lockedBuffer keeps what a process prints.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
