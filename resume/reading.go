package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// A reading decides who reads from a connection: any number of application
// Reads, as crypto/tls allows, or one call that reads on the connection's own
// account (WaitSession, Close) and gives way to the first application Read.
type reading struct {
	mu       sync.Mutex    // guards the rest
	apps     int           // application Reads that are under way
	own      purpose       // what a read of our own is for; forApp: there is none
	kept     []byte        // application data that one of ours met
	over     bool          // no read will succeed any more
	barred   bool          // nor is any to be tried: the connection was closed
	moved    bool          // a read of our own changed the raw deadline
	deadline time.Time     // the application's, for reading; zero: none, or set elsewhere
	changed  chan struct{} // closed at the next change; nil: nobody waits for it
}

// A purpose is what the raw connection is being read for.
type purpose uint8

const (
	forApp     purpose = iota
	forSession         // until a session has come, or somebody interrupts
	forClose           // what is there, and a moment's patience for the first ticket
)

// errPause ends a read of our own at the raw connection. crypto/tls does not
// hold a temporary error against the connection.
var errPause net.Error = pauseError{}

type pauseError struct{}

func (pauseError) Error() string   { return "resume: read paused" }
func (pauseError) Timeout() bool   { return true }
func (pauseError) Temporary() bool { return true }

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// watch returns a channel that is closed at the next change. What it is to
// tell of must be looked at after the call.
func (r *reading) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watchLocked()
}

func (r *reading) watchLocked() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// bar keeps all later reads away from crypto/tls, and reports whether none is
// under way.
func (r *reading) bar() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.barred = true, true
	r.notifyLocked() // WaitSession
	return r.apps == 0 && r.own == forApp
}

func (r *reading) notifyLocked() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// beginRead makes way for an application Read. If data was kept for it, or an
// error, that is all it gets, and it has ended already.
func (c *Conn) beginRead(b []byte) (int, error) {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.barred {
		return 0, net.ErrClosed
	}
	r.apps++
	if r.own == forApp && r.kept == nil {
		return 0, nil // the usual case
	}
	return c.makeWay(b), nil
}

// makeWay waits until no read of our own is under way, and returns what those
// have kept. It runs under the lock, and lets go of it while it waits.
func (c *Conn) makeWay(b []byte) (n int) {
	r := &c.reading
	for r.own != forApp {
		c.interruptLocked()
		left := r.watchLocked()
		r.mu.Unlock()
		<-left
		r.mu.Lock()
	}
	if len(r.kept) == 0 || len(b) == 0 {
		return 0
	}
	n = copy(b, r.kept)
	if r.kept = r.kept[n:]; len(r.kept) == 0 {
		r.kept = nil
	}
	r.endLocked()
	return n
}

func (r *reading) endRead() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked()
}

// endLocked tells whoever waits for the connection to be free.
func (r *reading) endLocked() {
	r.apps--
	r.notifyLocked()
}

// beginOwn claims the connection for a read of our own. It fails while anybody
// else reads, or, before a session is waited for, when there is no room for
// what might come before it.
func (c *Conn) beginOwn(why purpose) bool {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.apps > 0 || r.own != forApp || r.over || why == forSession && len(r.kept) >= maxReadAhead {
		return false
	}
	r.own = why
	c.wire.purpose, c.wire.waited = why, false
	c.wire.pause.Store(false)
	r.moved = false
	if !r.deadline.IsZero() {
		c.moveDeadline(time.Time{})
	}
	return true
}

// endOwn hands the connection back with the deadline it had. One that was set
// on the raw connection itself is gone if ours was needed.
func (c *Conn) endOwn() {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own = forApp
	c.wire.purpose = forApp
	if r.moved {
		c.wire.Conn.SetReadDeadline(r.deadline)
	}
	r.notifyLocked()
}

// moveDeadline sets the raw connection's read deadline for a read of our own.
// It runs under the lock.
func (c *Conn) moveDeadline(t time.Time) {
	c.reading.moved = true
	c.wire.Conn.SetReadDeadline(t)
}

// interrupt ends a read of our own, if there is one.
func (c *Conn) interrupt() {
	c.reading.mu.Lock()
	defer c.reading.mu.Unlock()
	c.interruptLocked()
}

func (c *Conn) interruptLocked() {
	if c.reading.own != forApp {
		c.wire.pause.Store(true)
		c.moveDeadline(past)
	}
}

// arrived notes that a session came: whoever waits for one has it, and the
// next raw read for it is not made.
func (c *Conn) arrived() {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own == forSession {
		c.wire.pause.Store(true)
	}
	r.notifyLocked()
}

// setReadDeadline is the application's. It waits while a read of our own is
// under way, which it is not meant for.
func (c *Conn) setReadDeadline(t time.Time) error {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	if r.own != forApp {
		return nil
	}
	return c.wire.Conn.SetReadDeadline(t)
}

// ErrNoTicket says that no session will come on this connection any more: it
// is older than TLS 1.3 and got none in its handshake, its configuration
// disables tickets, its reading side has ended, or its cache is closed.
var ErrNoTicket = errors.New("resume: no ticket will come on this connection")

// WaitSession returns the session that the connection received last, borrowed,
// and if there is none yet reads until one has come. In TLS 1.3 that is some
// while after the handshake, or never: ctx bounds the wait. The error is
// ErrNoTicket when none can come any more.
//
// It runs the handshake if that has not run; ctx ending then closes the
// connection, as for HandshakeContext. It may be called beside Read and gives
// way to it: while an application reads, that brings the session. Otherwise up
// to 64 KiB of application data are kept for later Reads; behind more than
// that, WaitSession waits for the application. Read deadlines set through the
// Conn do not apply to it.
func (c *Conn) WaitSession(ctx context.Context) (*Session, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	for {
		changed := c.reading.watch()
		if s, err := c.awaited(); s != nil || err != nil {
			return s, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if c.beginOwn(forSession) {
			err = c.readAhead(ctx)
		} else {
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// awaited is the last session received, or why none will be.
func (c *Conn) awaited() (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.last != nil:
		return c.last.borrow(), nil
	case c.ended.Load() || !c.expectsTicket():
		return nil, ErrNoTicket
	}
	c.reading.mu.Lock()
	defer c.reading.mu.Unlock()
	if c.reading.over {
		return nil, ErrNoTicket
	}
	return nil, nil
}

// expectsTicket reports whether a ticket may come after the handshake. It runs
// under the lock.
func (c *Conn) expectsTicket() bool {
	return c.complete && c.facts.version >= tls.VersionTLS13 &&
		!c.shim.config.SessionTicketsDisabled && !c.domain.core.closed.Load()
}

// readAhead reads once for WaitSession and keeps what it gets. If ctx ends it
// returns, whatever the read is held up by: a raw connection without deadlines,
// or a Write that is blocked, behind which crypto/tls would answer the peer.
// The read then goes on, and hands the connection back when it returns.
func (c *Conn) readAhead(ctx context.Context) error {
	result := make(chan readResult, 1)
	go c.readOnce(result)
	select {
	case r := <-result:
		if r.panicked != nil {
			panic(r.panicked) // in a callback, which belongs to this goroutine
		}
		return r.err
	case <-ctx.Done():
		c.interrupt()
		return ctx.Err()
	}
}

type readResult struct {
	err      error // of a deadline that somebody else has set
	panicked any
}

// readOnce is one Read in a goroutine of its own, which may outlive the call
// that asked for it.
func (c *Conn) readOnce(result chan<- readResult) {
	var r readResult
	defer func() { result <- r }()
	defer c.endOwn()
	defer func() { r.panicked = recover() }()
	buf := make([]byte, min(readAheadSize, maxReadAhead-len(c.reading.kept)))
	n, err := c.tls.Read(buf)
	if n > 0 {
		c.judge(false)
		c.reading.mu.Lock()
		c.reading.kept = append(c.reading.kept, buf[:n]...)
		c.reading.mu.Unlock()
	}
	if isTemporary(err) && err != errPause {
		r.err = err
	}
	c.noteRead(err)
}
