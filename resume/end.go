package resume

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// How a connection ends decides what becomes of the sessions it received and
// that nobody has used yet. A fatal alert or a record error, on either side,
// forfeits them (RFC 8446, Section 6.2; rule N28), and so does closing the raw
// connection underneath, which is to leave without close_notify. The peer's
// end without close_notify is too common to be held against it, unless
// StrictClose says so. Whatever else ends a connection leaves them alone.
//
// crypto/tls tells little of an end: close_notify and a bare one are both
// io.EOF, and after the first error it repeats that. So it is told by the
// wire's bits, and by whose words an error is in: an alert is a net.OpError of
// crypto/tls.

// noteRead looks at what a read of crypto/tls returned.
func (c *Conn) noteRead(err error) {
	if err == nil || isTemporary(err) {
		return
	}
	c.reading.mu.Lock()
	c.reading.over = true
	c.reading.mu.Unlock()
	// What the raw connection said comes first: crypto/tls passes that on in
	// words that fit several ends.
	switch ends := c.wire.ends.Load(); {
	case ends&endClosed != 0:
		c.closedUnderneath()
	case ends&(endOfFile|endReset) != 0:
		c.bareEnd()
	case err == io.EOF || c.wire.closed.Load() || isWarning(err):
		// close_notify, or our own end
	default:
		defer c.forfeit(failedAlert) // also when a callback panics
		c.judge(true)
	}
}

// judge notes, once, what a resumed connection showed of the server after the
// handshake. In TLS 1.3 that is over for us before the server has checked
// anything: an alert instead of the first data is how it fails a handshake that
// it has resumed, and only data show that it went along.
//
// Several Reads may come here at once: the swap chooses one. It is looked at
// first, as it is false at every Read but one.
func (c *Conn) judge(broke bool) {
	if !c.onTrial.Load() || !c.onTrial.CompareAndSwap(true, false) {
		return
	}
	at := c.key() // which does not change any more
	if core := c.domain.core; broke {
		core.broke(at)
	} else {
		core.known(at).succeeded()
	}
}

// noteWrite looks at what a write of crypto/tls returned. An error in its own
// words (closed, shut down) is no news.
func (c *Conn) noteWrite(err error) {
	if err == nil {
		return
	}
	var op *net.OpError
	switch ends := c.wire.ends.Load(); {
	case errors.As(err, &op) && (op.Op == "local error" || op.Op == "remote error"):
		if !isWarning(err) {
			c.forfeit(failedAlert)
		}
	case ends&endClosed != 0:
		c.closedUnderneath()
	case ends&endReset != 0:
		c.bareEnd()
	}
}

// isWarning reports whether an error stands for an alert that is not fatal: a
// refused renegotiation (RFC 5246, Section 7.2.2). crypto/tls reads no further
// all the same.
func isWarning(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "local error" && op.Err.Error() == "tls: no renegotiation"
}

// closedUnderneath: somebody other than crypto/tls closed the raw connection.
// With close_notify sent before, that is a clean end.
func (c *Conn) closedUnderneath() {
	if !c.notified.Load() {
		c.forfeit(failedUnclean)
	}
}

// bareEnd is the peer's end, or a reset, without close_notify: what came before
// it may have been cut short (RFC 8446, Section 6.1).
func (c *Conn) bareEnd() {
	if c.domain.core.strictClose {
		c.forfeit(failedUnclean)
	}
}

// forfeit ends what the connection received, the last maxReceived of it. A TLS
// 1.2 session that it was resumed with goes the same way, since it would be
// used again (RFC 5246, Section 7.2.2).
//
// The sessions are taken down under the lock, each with a reference, since the
// connection may end meanwhile and give its own back; they are ended without
// it, since that may call the user.
func (c *Conn) forfeit(v verdict) {
	c.mu.Lock()
	lost := slices.Clone(c.received)
	if c.before != nil {
		lost = append(lost, c.before)
	}
	lost = slices.DeleteFunc(lost, func(s *session) bool { return !s.retain() })
	c.mu.Unlock()
	for _, s := range slices.Backward(lost) { // so that the first one's is first
		defer c.forfeitOne(s, v) // also when a callback panics over another
	}
}

// forfeitOne gives the reference back, too.
func (c *Conn) forfeitOne(s *session, v verdict) {
	defer s.release()
	if !s.isNamed() {
		s.end(v) // the Pending object: in no pool
	} else {
		c.domain.core.forfeit(s, v)
	}
}

// Close sends close_notify and closes the connection. The sessions it received
// stay as they are.
//
// If none has come yet on this TLS 1.3 connection, nothing was read from it and
// nobody is reading or writing, Close first takes what has arrived, so that the
// tickets are not lost. It waits for them up to a millisecond if the server is
// near (a round trip of 5 ms), or, after a handshake that took much longer than
// a Dialer takes to connect there, twice as long as that, 30 ms at most: the
// server is just busy. Unread tickets would also reset the connection, and the
// server lose what was written last. From further away only Shutdown saves
// both.
//
// Application data that Close meets is discarded. On Windows, or where raw is
// not a bare socket, it cannot see what has arrived and waits as long as it
// may. If a Write is under way, Close breaks it off and sends no close_notify,
// as that of crypto/tls does.
func (c *Conn) Close() error {
	defer c.end() // also when a callback panics
	// The raw connection is to be closed even if a callback in drain panics.
	closed := false
	defer func() {
		if !closed {
			c.tls.Close()
		}
	}()
	// A second Close, or one behind Shutdown, has nothing to look for.
	if !c.closing.Swap(true) {
		c.drain()
	}
	closed = true
	err := c.tls.Close()
	if c.wire.ends.Load()&endClosed != 0 { // there was nothing left to close
		c.closedUnderneath()
	}
	return err
}

// drain collects before Close, if the first ticket may be among what has come.
// Data that was read came behind the tickets, so there is nothing to look for
// then, and no system call to pay. What it looks at may change at once, which
// costs a ticket or a moment and no more.
func (c *Conn) drain() {
	if c.settled.Load() && !c.wasRead.Load() && c.writes.Load() == 0 && c.lacksTicket() {
		c.collect()
	}
}

// collect reads until it is quiet. A Write that begins meanwhile and is blocked
// could block it, too, and a peer could feed it for long: time is short.
//
// The timer interrupts the read. If a Write holds that up, whose lock
// crypto/tls wants to answer a key update, only closing helps, and then there
// is no close_notify, as crypto/tls has it for such a Close. So it does where a
// deadline has no effect, and there close_notify can be sent first.
func (c *Conn) collect() {
	if !c.beginOwn(forClose) {
		return
	}
	defer c.endOwn()
	// Without a deadline, for readNow; and it tells whether the raw connection
	// is open.
	if err := c.limit(0); errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return // closed underneath: a ticket in crypto/tls's buffer is void
	}
	defer time.AfterFunc(drainTime, func() {
		c.interrupt()
		// That of crypto/tls, since a Write may begin as we look: CloseWrite
		// would wait for it.
		if c.writes.Load() > 0 || !c.handsBack(drainTime) {
			c.tls.Close()
		}
	}).Stop()
	buf := make([]byte, 512) // tickets stay inside crypto/tls: this is for data
	for total := 0; total < maxDrain && !c.wire.pause.Load(); {
		n, err := c.tls.Read(buf)
		total += n
		if err != nil {
			c.noteRead(err)
			return
		}
	}
}

// limit sets a deadline for a raw read of our own, so long from now; none if d
// is 0. It fails if the raw connection is closed or has no deadlines. It does
// not look whose read is under way, as its caller has that.
func (c *Conn) limit(d time.Duration) error {
	c.reading.mu.Lock()
	defer c.reading.mu.Unlock()
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	c.reading.moved = true
	return c.wire.Conn.SetReadDeadline(t)
}

// lacksTicket reports whether a first ticket may come yet.
func (c *Conn) lacksTicket() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last == nil && !c.ended.Load() && c.expectsTicket()
}

// hasTicket reports whether one has come.
func (c *Conn) hasTicket() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last != nil
}

// CloseWrite sends close_notify and leaves the reading side open. From then on
// the raw connection may be closed by anybody, and that is a clean end.
func (c *Conn) CloseWrite() error {
	err := c.tls.CloseWrite()
	if err == nil {
		c.notified.Store(true)
	}
	c.noteWrite(err)
	return err
}

// Shutdown ends the connection in both directions (SSL_shutdown until it
// returns 1): it sends close_notify, reads to the peer's end and closes. It
// loses neither a ticket, which it receives on the way, nor what was written
// last. Application data that still comes is discarded. Of a connection
// without a handshake it is the Close.
//
// ctx bounds the wait for the peer; the connection is closed whatever the
// error. That the peer ends without close_notify is an error,
// io.ErrUnexpectedEOF, with StrictClose only.
func (c *Conn) Shutdown(ctx context.Context) (err error) {
	c.mu.Lock()
	complete := c.complete
	c.mu.Unlock()
	if !complete {
		return c.Close()
	}
	if err := ctx.Err(); err != nil {
		c.Close()
		return err
	}
	// From below: no later Close looks for tickets, the raw connection closes,
	// the references go back. So also when a callback panics.
	defer c.end()
	defer c.tls.Close() // says what CloseWrite has said
	defer c.closing.Store(true)
	unblock := context.AfterFunc(ctx, func() { c.wire.Close() })
	defer func() {
		if !unblock() && err != nil {
			err = ctx.Err()
		}
	}()
	if err := c.CloseWrite(); err != nil {
		return err
	}
	// As an application's Read, which a WaitSession under way gives way to.
	if _, err := c.beginRead(nil); err != nil {
		return err
	}
	defer c.reading.endRead()
	c.setReadDeadline(time.Time{})
	return c.readToEnd()
}

// readToEnd is an application's Read as far as others are concerned. crypto/tls
// says io.ErrUnexpectedEOF of an end within a record; that is a bare end, too.
func (c *Conn) readToEnd() error {
	buf := make([]byte, readAheadSize)
	for {
		_, err := c.tls.Read(buf)
		if err == nil {
			continue
		}
		c.noteRead(err)
		switch {
		case err != io.EOF && err != io.ErrUnexpectedEOF:
			return err
		case c.domain.core.strictClose && c.wire.ends.Load()&endOfFile != 0:
			return io.ErrUnexpectedEOF
		}
		return nil
	}
}
