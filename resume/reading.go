package resume

import (
	"net"
	"sync"
	"time"
)

// A reading decides who reads from a connection: any number of application
// Reads, as crypto/tls allows, or one call that reads on the connection's own
// account (WaitSession, Close) and gives way to the first application Read
// (docs/decisions/0008).
//
// Its lock may be taken under the Conn's, never the other way, and is held
// while deadlines of the raw connection are set: that is how whoever sets one
// and whoever puts it back come one after the other. It is held for no read.
type reading struct {
	mu       sync.Mutex    // guards the rest
	apps     int           // application Reads that are under way
	own      purpose       // what a read of our own is for; forApp: there is none
	kept     []byte        // application data that one of ours met
	over     bool          // no read will succeed any more
	barred   bool          // nor is any to be tried: the connection was closed
	moved    bool          // the raw deadline is not the application's
	deadline time.Time     // the application's, for reading; zero: none, or set elsewhere
	changed  chan struct{} // closed at the next change; nil: nobody waits for it
}

// A purpose is what the raw connection is being read for. It is kept twice: in
// reading under the lock, for who wants to read or to interrupt, and in wire
// for the read itself, which is under way without one.
type purpose uint8

const (
	forApp     purpose = iota
	forSession         // until a session has come, or somebody interrupts
	forClose           // what is there, and a moment's patience for the first ticket
)

// errPause ends a read of our own at the raw connection. crypto/tls does not
// hold a temporary error against the connection. It is one value, so that a
// pause can be told from the deadlines of others, and never leaves the package.
var errPause net.Error = pauseError{}

type pauseError struct{}

func (pauseError) Error() string   { return "resume: read paused" }
func (pauseError) Timeout() bool   { return true }
func (pauseError) Temporary() bool { return true }

// past is a deadline that has passed, by whatever clock: it ends a read at
// once.
var past = time.Unix(1, 0)

// watch returns a channel that is closed at the next change. What it is to tell
// of must be looked at after the call, or a change in between is missed. The
// channel is made for who waits: a connection that nobody waits for has none.
func (r *reading) watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watchLocked()
}

// watchLocked is watch under the lock. All who wait share one channel.
func (r *reading) watchLocked() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// bar keeps all later reads away from crypto/tls, and reports whether none is
// under way. Both are one step: no Read can begin in between, and so a shim
// that is lent on after that is asked by nobody (docs/decisions/0017).
func (r *reading) bar() bool {
	r.mu.Lock()
	r.over, r.barred = true, true
	r.notifyLocked() // WaitSession
	quiet := r.apps == 0 && r.own == forApp
	r.mu.Unlock()
	return quiet
}

// notifyLocked wakes all who wait, to look again. Which change it was, it does
// not tell.
func (r *reading) notifyLocked() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// beginRead makes way for an application Read. If data was kept for it, or an
// error, that is all it gets, and it has ended already. Otherwise endRead is to
// follow, whatever becomes of the Read.
//
// It is counted before it makes way, so that no other read of our own begins
// while it waits.
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
// have kept. It runs under the lock, and lets go of it while it waits, so it
// looks again each time: the change may have been another. A Read of nothing
// leaves what is kept, and goes on to crypto/tls.
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
		r.kept = nil // which beginRead takes for the usual case again
	}
	r.endLocked()
	return n
}

// endRead is the end of an application Read that went to crypto/tls.
func (r *reading) endRead() {
	r.mu.Lock()
	r.endLocked()
	r.mu.Unlock()
}

// endLocked tells whoever waits for the connection to be free.
func (r *reading) endLocked() {
	r.apps--
	r.notifyLocked()
}

// beginOwn claims the connection for a read of our own. It fails while anybody
// else reads, or, before a session is waited for, when there is no room for
// what might come before it.
//
// The wire's fields are set here, while nobody reads, and read by who reads
// next, which is the caller. A pause that was meant for an earlier read is
// over. The application's deadline is not for our read, and is put aside.
//
// Of an unbound connection somebody else reads, at any time, whose reads are
// not counted here: Observe, which is told of the Conn, must not take its data.
func (c *Conn) beginOwn(why purpose) bool {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.unbound || r.apps > 0 || r.own != forApp || r.over || why == forSession && len(r.kept) >= maxReadAhead {
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
// on the raw connection itself is gone if ours was needed. An application Read
// that has interrupted us waits for this, and begins with that deadline.
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

// interruptLocked leaves a read of the application's alone.
func (c *Conn) interruptLocked() {
	if c.reading.own != forApp {
		// In this order: the read that the deadline ends is to find the pause,
		// or it would take it for a deadline of the application's.
		c.wire.pause.Store(true)
		c.moveDeadline(past)
	}
}

// handsBack reports whether a read of our own that was interrupted has ended,
// at the latest after a while.
func (c *Conn) handsBack(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	r := &c.reading
	for {
		r.mu.Lock()
		own, changed := r.own, r.watchLocked()
		r.mu.Unlock()
		if own == forApp {
			return true
		}
		select {
		case <-changed:
		case <-late.C:
			return false
		}
	}
}

// arrived notes that a session came: whoever waits for one has it, and the next
// raw read for it is not made. The read under way is not interrupted by a
// deadline, as it is the one that runs this. What lies in crypto/tls's buffer
// by now, such as more tickets of the same flight, it still delivers.
func (c *Conn) arrived() {
	r := &c.reading
	r.mu.Lock()
	if r.own == forSession {
		c.wire.pause.Store(true)
	}
	r.notifyLocked()
	r.mu.Unlock()
}

// setReadDeadline is the application's. It waits while a read of our own is
// under way, which it is not meant for: endOwn sets it then. An error of the
// raw connection is not heard of in that case.
func (c *Conn) setReadDeadline(t time.Time) error {
	r := &c.reading
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	if r.own != forApp {
		r.moved = true // if it was not: endOwn is to set this one
		return nil
	}
	return c.wire.Conn.SetReadDeadline(t)
}
