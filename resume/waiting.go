package resume

import (
	"context"
	"crypto/tls"
	"errors"
)

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
		// Before looking whether a session is there (see watch).
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

// awaited is the last session received, or why none will be. Neither: it may
// come yet. A session that came counts before any end, since it is what was
// asked for, even if the connection has failed since.
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
//
// That is why it has a goroutine of its own. The channel has room for its
// result, so that it ends if nobody waits any more.
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

// A readResult is what WaitSession must know of a read. How the connection
// ended, if it did, is noted by noteRead, and whoever looks again finds it
// there.
type readResult struct {
	err      error // of a deadline that somebody else has set
	panicked any
}

// readOnce is one Read in a goroutine of its own, which may outlive the call
// that asked for it. A callback that panics in it is the caller's to hear of;
// if he has left, nobody does.
//
// The connection is handed back before the result is: WaitSession is to find
// nobody reading when it looks again. The buffer is not larger than what may be
// kept, as what was read cannot be put back.
func (c *Conn) readOnce(result chan<- readResult) {
	var r readResult
	defer func() { result <- r }()
	defer c.endOwn()
	defer func() { r.panicked = recover() }()
	// Without the lock: only who reads on our account adds to what is kept, and
	// only an application Read, which waits for us, takes from it.
	buf := make([]byte, min(readAheadSize, maxReadAhead-len(c.reading.kept)))
	n, err := c.tls.Read(buf)
	if n > 0 {
		c.judge(false)
		c.reading.mu.Lock()
		c.reading.kept = append(c.reading.kept, buf[:n]...)
		c.reading.mu.Unlock()
	}
	// A deadline that was set on the raw connection behind our back. To read on
	// would spin.
	if isTemporary(err) && err != errPause {
		r.err = err
	}
	c.noteRead(err)
}
