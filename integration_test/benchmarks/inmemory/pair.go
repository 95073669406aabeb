// Package inmemory is a TLS server without a network, for measuring one percent
// of a handshake.
package inmemory

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/tlsresume/tlsresume/internal/cputime"
)

// A pipe is one direction of a connection. It keeps what was written, so that
// a write never waits.
type pipe struct {
	mu     sync.Mutex // guards the rest
	more   *sync.Cond // buf has grown, or closed is set
	buf    []byte
	closed bool
}

func newPipe() *pipe {
	p := new(pipe)
	p.more = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	p.buf = append(p.buf, b...)
	p.more.Signal()
	return len(b), nil
}

// read calls idle before it waits, and busy after.
func (p *pipe) read(b []byte, idle, busy func()) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.buf) == 0 && !p.closed {
		idle()
		for len(p.buf) == 0 && !p.closed {
			p.more.Wait()
		}
		busy()
	}
	if len(p.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.buf)
	p.buf = append(p.buf[:0], p.buf[n:]...)
	return n, nil
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Broadcast()
}

// An End is one end of a connection. It tells what CPU time passed while its
// owner was not waiting for the other end: on one processor, and with writes
// that never wait, that is what its owner has used.
type End struct {
	in, out *pipe
	remote  *net.TCPAddr
	since   time.Duration // by the CPU clock
	spent   time.Duration
}

// Pair is a connection between addresses that look like those of a network.
func Pair(remote *net.TCPAddr) (client, server *End) {
	up, down := newPipe(), newPipe()
	now := cputime.Process()
	return &End{in: down, out: up, remote: remote, since: now}, &End{in: up, out: down, remote: remote, since: now}
}

// Spent is the CPU time that the owner of this end has used. Only the owner may call it.
func (e *End) Spent() time.Duration { return e.spent + cputime.Process() - e.since }

func (e *End) idle() { e.spent += cputime.Process() - e.since }
func (e *End) busy() { e.since = cputime.Process() }

// The methods of net.Conn. There are no deadlines: nothing here waits for long.

func (e *End) Read(b []byte) (int, error)       { return e.in.read(b, e.idle, e.busy) }
func (e *End) Write(b []byte) (int, error)      { return e.out.write(b) }
func (e *End) Close() error                     { e.out.close(); e.in.close(); return nil }
func (e *End) LocalAddr() net.Addr              { return e.remote }
func (e *End) RemoteAddr() net.Addr             { return e.remote }
func (e *End) SetDeadline(time.Time) error      { return nil }
func (e *End) SetReadDeadline(time.Time) error  { return nil }
func (e *End) SetWriteDeadline(time.Time) error { return nil }
