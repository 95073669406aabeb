package tlstest

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Pipe is net.Pipe with writes that do not wait for the reader, as on a
// network: both ends of a TLS 1.3 handshake write before they read on, and
// would wait for each other for ever. What was written before Close arrives.
// It uses nothing that testing/synctest cannot see through.
func Pipe() (client, server net.Conn) {
	a, b := net.Pipe()
	open := new(atomic.Int32)
	open.Store(2)
	over := func() {
		if open.Add(-1) == 0 { // neither end reads any more
			a.Close()
			b.Close()
		}
	}
	return newBuffered(a, over), newBuffered(b, over)
}

type buffered struct {
	net.Conn
	mu     sync.Mutex // guards queue and closed
	more   *sync.Cond // queue has grown, or closed is set
	queue  [][]byte
	closed bool
	over   func() // tells the pair that this end was closed
}

func newBuffered(conn net.Conn, over func()) *buffered {
	b := &buffered{Conn: conn, over: sync.OnceFunc(over)}
	b.more = sync.NewCond(&b.mu)
	go b.pump()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	b.queue = append(b.queue, append([]byte(nil), p...))
	b.more.Signal()
	return len(p), nil
}

// Read fails as that of a network connection does once this end was closed.
func (b *buffered) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if err != nil && b.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (b *buffered) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.more.Signal()
	defer b.over()
	return b.Conn.SetReadDeadline(time.Unix(1, 0)) // a blocked Read returns
}

// SetWriteDeadline does nothing: a Write never waits. pump does, and must not
// be cut short by the deadline that crypto/tls sets behind its close_notify.
func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline fails, as Read does, once this end was closed.
func (b *buffered) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return net.ErrClosed
	}
	return b.Conn.SetReadDeadline(t)
}

// SetDeadline is that of reads.
func (b *buffered) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }

// pump passes on what was written, and closes when all of it has arrived or
// the other end is gone.
func (b *buffered) pump() {
	defer b.Conn.Close()
	for {
		p, ok := b.next()
		if !ok {
			return
		}
		if _, err := b.Conn.Write(p); err != nil {
			return
		}
	}
}

func (b *buffered) next() ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) == 0 && !b.closed {
		b.more.Wait()
	}
	if len(b.queue) == 0 {
		return nil, false
	}
	p := b.queue[0]
	b.queue = b.queue[1:]
	return p, true
}
