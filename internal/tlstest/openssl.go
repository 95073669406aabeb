package tlstest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// OpenSSL is a running openssl s_server. It serves one connection after the
// other and echoes lines, reversed.
type OpenSSL struct {
	Addr string

	cmd    *exec.Cmd
	dir    string
	output lockedBuffer
}

// ErrNoOpenSSL says that there is no openssl command on this machine.
var ErrNoOpenSSL = errors.New("tlstest: no openssl command found")

// StartOpenSSL starts openssl s_server with further arguments, such as
// "-num_tickets", "4", and waits until it listens. Close ends it.
func StartOpenSSL(cert tls.Certificate, args ...string) (*OpenSSL, error) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		return nil, ErrNoOpenSSL
	}
	dir, err := os.MkdirTemp("", "tlstest")
	if err != nil {
		return nil, err
	}
	certFile, keyFile, err := WriteFiles(dir, cert)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	o := &OpenSSL{Addr: addr, dir: dir}
	o.cmd = exec.Command(path, append([]string{
		"s_server", "-accept", addr, "-cert", certFile, "-key", keyFile, "-rev", "-quiet",
	}, args...)...)
	o.cmd.Stdout, o.cmd.Stderr = &o.output, &o.output
	if err := o.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := o.listening(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, o.output.String()), o.Close())
	}
	return o, nil
}

// Close kills the server and removes its files.
func (o *OpenSSL) Close() error {
	o.cmd.Process.Kill()
	o.cmd.Wait() // "signal: killed" is what was asked for
	return os.RemoveAll(o.dir)
}

// listening waits until the port answers, with a TCP connection and no more:
// a handshake would cost a ticket.
func (o *OpenSSL) listening() (err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var conn net.Conn
		if conn, err = net.Dial("tcp", o.Addr); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("tlstest: openssl s_server does not listen: %w", err)
}

// freeAddr is a port of 127.0.0.1 that was free a moment ago.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// A lockedBuffer keeps the beginning of what a process prints: openssl has a
// word for every connection that fails.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const most = 16 << 10
	b.buf.Write(p[:min(len(p), max(0, most-b.buf.Len()))])
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
