package resume

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A wire is the raw connection of a Conn. It sees what crypto/tls does not
// tell: whether the ticket was in the first flight, whether the peer answered,
// and how the connection ended, for a raw end and close_notify are one io.EOF
// above.
//
// What has no lock here belongs to one goroutine at a time. The first write and
// the first read are the handshake's, and set sent, roundTrip and watched for
// good: later ones, a read beside a write, only look. Reads are made by one
// goroutine at a time, as crypto/tls has a lock around them. The atomics are
// set where something happens and looked at where it is weighed: ends by reads
// and writes, closed by a Close beside them.
type wire struct {
	net.Conn
	owner *Conn

	watched   *lease        // until the first write; the handshake's, as in Conn
	sent      time.Time     // first write, or when its session was asked for
	roundTrip time.Duration // from there to the first byte read; 0: none yet
	connect   time.Duration // what a Dialer takes to connect to the endpoint; 0: not known
	ends      atomic.Uint32 // how raw reads and writes failed
	closed    atomic.Bool   // by crypto/tls

	// Of the read that is under way, set by whoever makes it, under the lock of
	// reading and while nobody reads. Only pause is set by others.
	purpose purpose
	waited  bool        // forClose: the moment's patience is used up
	pause   atomic.Bool // reads of our own shall end
}

// Bits of wire.ends. They add up: a read and a write may fail at once, each its
// own way, and it is noteRead and noteWrite that weigh them.
const (
	endOfFile = 1 << iota // the peer's end, without close_notify if crypto/tls read on
	endReset              // any other failure
	endClosed             // it was closed on our side, and not by crypto/tls
)

// NetConn returns what the caller, or the Dialer, connected with.
func (w *wire) NetConn() net.Conn { return w.Conn }

// Write looks at what the first write sends, and at how any of them fails.
func (w *wire) Write(b []byte) (n int, err error) {
	if w.sent.IsZero() {
		n, err = w.writeFirst(b)
	} else {
		n, err = w.Conn.Write(b)
	}
	if err != nil {
		w.ended(err, false)
	}
	return n, err
}

// writeFirst notes whether the ticket was sent. What the raw connection did not
// take a byte of was not sent; of what it took a part of, the peer may have got
// the ticket, or who listens on the way.
//
// Later writes are not looked at: the hello after a HelloRetryRequest repeats
// the ticket, which is one use. A ticket under Encrypted Client Hello cannot be
// seen, and is taken for sent.
func (w *wire) writeFirst(b []byte) (int, error) {
	w.sent = w.owner.shim.now()
	l := w.watched
	if l == nil {
		return w.Conn.Write(b)
	}
	w.watched, l.offered = nil, true // should the raw Write not return
	n, err := w.Conn.Write(b)
	l.offered = n > 0 && (w.owner.view.ech || carriesTicket(b, l.ticket()))
	return n, err
}

// Read reads for whatever purpose is set. An io.EOF that comes with data is not
// noted yet: crypto/tls uses the data, and the next read tells again.
func (w *wire) Read(b []byte) (n int, err error) {
	switch w.purpose {
	case forApp:
		n, err = w.Conn.Read(b)
	case forSession:
		n, err = w.readUnlessPaused(b)
	case forClose:
		n, err = w.readWhatIsThere(b)
	}
	w.owner.shim.later()
	if n > 0 && w.roundTrip == 0 {
		w.roundTrip = max(1, w.owner.shim.now().Sub(w.sent))
	}
	if err != nil && (n == 0 || err != io.EOF) {
		w.ended(err, true)
	}
	return n, err
}

// readUnlessPaused is interrupted by a deadline in the past, which must look
// like a pause and not like a deadline of the application's. It looks at pause
// before, for one that was set while no read was under way, and after:
// interrupt sets it before it moves the deadline.
func (w *wire) readUnlessPaused(b []byte) (int, error) {
	if w.pause.Load() {
		return 0, errPause
	}
	n, err := w.Conn.Read(b)
	if w.pause.Load() && isTimeout(err) {
		err = errPause
	}
	return n, err
}

// readWhatIsThere reads without waiting, and if nothing is there and no ticket
// has come, waits once for a moment, unless the server is too far away for
// that to bring anything. (A deadline takes a millisecond to pass, however near
// it is.) Where one cannot look without waiting, that moment is all there is.
// A connection that is made for its tickets waits behind each of them.
func (w *wire) readWhatIsThere(b []byte) (int, error) {
	if w.pause.Load() {
		return 0, errPause
	}
	n, err := readNow(w.Conn, b)
	blind := errors.Is(err, errors.ErrUnsupported)
	switch {
	case err != errPause && !blind:
		return n, err
	case w.waited && !blind, !w.owner.warming && (w.patience() == 0 || !blind && w.owner.hasTicket()):
		return 0, errPause
	case !w.waited && w.owner.limit(w.patience()) != nil:
		return 0, errPause // it has no deadlines
	}
	n, err = w.Conn.Read(b)
	if isTimeout(err) {
		err = errPause
	}
	if !blind {
		w.owner.limit(0) // or readNow would look no further
	}
	w.waited = n == 0 || !w.owner.warming
	return n, err
}

// patience is how long to wait for a ticket. A server that took half as long
// again for the handshake as the network for connecting, which kernels do among
// themselves, is not far away but busy: it may take twice that time again,
// since the last of a handshake stands in the same queue as its beginning. Zero
// is not at all. Where connecting took longer than drainTime, no wait as short
// as that would bring anything.
//
// A Dialer that warms waits a moment only, behind each ticket: it has waited
// for the first in WaitSession.
func (w *wire) patience() time.Duration {
	busy := w.connect > 0 && 3*w.connect <= 2*w.roundTrip && w.connect <= drainTime
	switch {
	case busy && !w.owner.warming:
		return min(max(2*w.roundTrip, drainWait), drainTime)
	case w.owner.warming || w.roundTrip <= drainRoundTrip:
		return drainWait
	}
	return 0
}

// ended notes how the raw connection failed, if crypto/tls will take it for
// its end. It comes before crypto/tls returns the error, so that whoever has
// that finds the bits set.
func (w *wire) ended(err error, reading bool) {
	switch {
	case w.closed.Load(): // whatever it is called then
	case isTemporary(err):
	case errors.Is(err, net.ErrClosed), reading && errors.Is(err, io.ErrClosedPipe):
		// Of a pipe that is so for reads only: its writes fail that way at
		// the peer's end, too.
		w.ends.Or(endClosed)
	case err == io.EOF:
		w.ends.Or(endOfFile)
	default:
		w.ends.Or(endReset)
	}
}

// Close is crypto/tls's. Whoever holds the *tls.Conn of DialTLSContext has no
// other end than this.
func (w *wire) Close() error {
	// Before it closes: a read that fails by it is to find this set, or it
	// would look as if somebody else had closed the raw connection.
	w.closed.Store(true)
	err := w.Conn.Close()
	if w.owner.unbound {
		w.owner.end()
	}
	return err
}

// closedHere reports whether our side has closed the raw connection, whoever
// did it. The error alone does not tell: one that is not a socket may call its
// own end io.ErrClosedPipe (net.Pipe), or io.EOF (the channel of an SSH client).
func (w *wire) closedHere() bool {
	return w.closed.Load() || w.ends.Load()&endClosed != 0
}

// isTemporary reports whether crypto/tls takes an error of the raw connection
// for one that passes: it looks no further than the error itself.
func isTemporary(err error) bool {
	passing, ok := err.(interface {
		net.Error
		Temporary() bool
	})
	return ok && passing.Temporary()
}

// isTimeout looks all the way down, as errors of handshakes are wrapped.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// carriesTicket reports whether a first flight holds the ticket. What it
// cannot read, such as a ClientHello split over several records, it takes for
// one that does: a ticket too many is lost rather than one used twice.
func carriesTicket(flight, ticket []byte) bool {
	const recordHeader, messageHeader = 5, 4 // RFC 8446, Sections 5.1 and 4
	if len(flight) < recordHeader+messageHeader {
		return true
	}
	record := int(binary.BigEndian.Uint16(flight[3:]))
	message := int(binary.BigEndian.Uint32(flight[recordHeader:]) & 0xffffff)
	if messageHeader+message > record {
		return true
	}
	// In TLS 1.3 only its age and one binder follow (RFC 8446, Section 4.2.11),
	// as long as the hash of the cipher suite. To look there first saves a slow
	// search of all the key shares.
	for _, binder := range [...]int{sha256.Size, sha512.Size384} {
		const before = 4 + 2 + 1 // the age and two lengths
		if end := len(flight) - before - binder; end > 0 && bytes.HasSuffix(flight[:end], ticket) {
			return true
		}
	}
	return bytes.Contains(flight, ticket)
}
