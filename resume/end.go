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

// noteRead looks at what a read of crypto/tls returned.
func (c *Conn) noteRead(err error) {
	if err == nil || isTimeout(err) {
		return
	}
	c.reading.mu.Lock()
	c.reading.over = true
	c.reading.mu.Unlock()
	switch ends := c.wire.ends.Load(); {
	case ends&endClosed != 0:
		c.closedUnderneath()
	case ends&(endOfFile|endReset) != 0:
		c.bareEnd()
	case err == io.EOF, c.wire.closed.Load() && isClosed(err):
		// close_notify, or our own end
	default:
		c.forfeit(failedAlert)
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
		c.forfeit(failedAlert)
	case ends&endClosed != 0:
		c.closedUnderneath()
	case ends&endReset != 0:
		c.bareEnd()
	}
}

// closedUnderneath: somebody other than crypto/tls closed the raw connection.
// With close_notify sent before, that is a clean end.
func (c *Conn) closedUnderneath() {
	if !c.notified.Load() {
		c.forfeit(failedUnclean)
	}
}

func (c *Conn) bareEnd() {
	if c.domain.core.strictClose {
		c.forfeit(failedUnclean)
	}
}

// forfeit ends what the connection received. A TLS 1.2 session that it was
// resumed with goes the same way, since it would be used again (RFC 5246,
// Section 7.2.2).
func (c *Conn) forfeit(v *verdict) {
	c.mu.Lock()
	lost := slices.Clone(c.received)
	if c.before != nil {
		lost = append(lost, c.before)
	}
	lost = slices.DeleteFunc(lost, func(s *session) bool { return !s.retain() })
	c.mu.Unlock()
	for _, s := range lost {
		if s.info.ID == "" {
			s.end(v) // the Pending object: in no pool
		} else {
			c.domain.core.remove(s, v)
		}
		s.release()
	}
}

// Close sends close_notify and closes the connection. The sessions it received
// stay as they are.
//
// If none has come yet on this TLS 1.3 connection and nobody is reading, Close
// first reads what has arrived, so that the tickets are not lost, and waits for
// them up to a millisecond if the server is near (a round trip of 5 ms). Unread
// tickets would also reset the connection, and the server lose what was
// written last. From further away only Shutdown saves both. Application data
// that it meets is discarded. If a Write is under way, Close breaks it off and
// sends no close_notify, as that of crypto/tls does.
func (c *Conn) Close() error {
	if !c.closing.Swap(true) {
		c.drain()
	}
	err := c.tls.Close()
	if c.wire.ends.Load()&endClosed != 0 { // there was nothing left to close
		c.closedUnderneath()
	}
	c.end()
	return err
}

// drain reads until it is quiet, if a ticket may be among what it finds.
func (c *Conn) drain() {
	if !c.settled.Load() || !c.lacksTicket() || !c.beginOwn(forClose) {
		return
	}
	defer c.endOwn()
	var buf [512]byte
	for total := 0; total < maxDrain; {
		n, err := c.tls.Read(buf[:])
		total += n
		if err != nil {
			c.noteRead(err)
			return
		}
	}
}

func (c *Conn) lacksTicket() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last == nil && !c.ended && c.expectsTicket()
}

func (c *Conn) hasTicket() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last != nil
}

// CloseWrite sends close_notify and leaves the reading side open.
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
func (c *Conn) Shutdown(ctx context.Context) error {
	if !c.settled.Load() {
		return c.Close()
	}
	if err := ctx.Err(); err != nil {
		c.Close()
		return err
	}
	c.beginRead(nil)
	c.setReadDeadline(time.Time{})
	unblock := context.AfterFunc(ctx, func() { c.wire.Conn.SetDeadline(past) })
	err := c.CloseWrite()
	if err == nil {
		err = c.readToEnd()
	}
	if !unblock() && isTimeout(err) {
		err = ctx.Err()
	}
	c.reading.endRead()
	c.closing.Store(true)
	c.tls.Close() // says what CloseWrite has said
	c.end()
	return err
}

// readToEnd is an application's Read as far as others are concerned.
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
