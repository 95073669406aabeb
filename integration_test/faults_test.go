package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// descriptorCheck fails the test if it leaves files or sockets open. What was
// to be cleaned up before it must be registered after it.
func descriptorCheck(t testing.TB) {
	if runtime.GOOS != "linux" {
		return
	}
	rawListener(t).Close() // the runtime's own descriptors are there from now on
	before := len(descriptors(t))
	t.Cleanup(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(patience); ; <-tick.C {
			after := descriptors(t)
			if len(after) <= before {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d descriptors before, %d after: %v", before, len(after), after)
				return
			}
		}
	})
}

// descriptors are what this process has open, by what they refer to.
func descriptors(t testing.TB) (open []string) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		// That of ReadDir itself is gone.
		if to, err := os.Readlink(dir + "/" + entry.Name()); err == nil {
			open = append(open, entry.Name()+" "+to)
		}
	}
	return open
}

// A bench is a way in to a server behind a proxy that breaks connections.
type bench struct {
	entry
	way   string
	c     *resume.ClientCache
	heard *heard
	proxy *tlstest.Faulty
	fresh int           // tickets of a full handshake; a resumed one brings one
	stuck chan struct{} // the server stands still

	strict bool // StrictClose
	old    bool // TLS 1.2
}

func newBench(t testing.TB, w way, c *resume.ClientCache, server string, client *tls.Config, fresh int) *bench {
	t.Helper()
	proxy, err := tlstest.NewFaulty(server, 32)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	c, heard := listenLightly(t, c)
	return &bench{entry: w.open(c, client), way: w.name, c: c, heard: heard, proxy: proxy, fresh: fresh, stuck: make(chan struct{}, 1)}
}

// listenLightly is listen for thousands of connections: it holds no session.
func listenLightly(t testing.TB, c *resume.ClientCache) (*resume.ClientCache, *heard) {
	c, heard := listen(t, c)
	c.NewSession = nil
	return c, heard
}

// bound reports whether the layer knows the connection.
func (b *bench) bound() bool { return b.way == "NewConn" || b.way == "Dialer" }

// An outcome is what became of one connection.
type outcome struct {
	fault     tlstest.Fault
	hit       bool
	stuck     bool // the server stands still
	handshake error
	talk      error
	resumed   bool
	before    resume.Stats
	after     resume.Stats
	offered   int            // connections that offered a ticket on the wire
	events    map[string]int // by kind and reason
	trial     *tlstest.Trial
}

// String is for messages of failed tests.
func (o *outcome) String() string {
	return fmt.Sprintf("%v, hit %t: handshake: %v, talk: %v, resumed %t, events %v", o.fault, o.hit, o.handshake, o.talk, o.resumed, o.events)
}

// attempt makes one connection to which a fault happens.
func (b *bench) attempt(fault tlstest.Fault) *outcome {
	o := &outcome{fault: fault, before: b.c.Stats(), trial: b.proxy.Next(fault)}
	offered := b.proxy.Identities.Counts().Offered
	mark := b.heard.mark()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.givesUp(ctx, o, cancel)
	}()
	conn, err := b.dial(ctx, b.proxy.Addr)
	if o.handshake = err; err == nil {
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		o.talk = talk(conn)
		o.resumed = conn.ConnectionState().DidResume
		stop()
		conn.Close()
	}
	cancel()
	if <-done; !o.stuck {
		<-o.trial.Over
		o.hit = isDone(o.trial.Hit)
	}
	o.after, o.events = b.c.Stats(), b.heard.since(mark)
	o.offered = b.proxy.Identities.Counts().Offered - offered
	return o
}

// givesUp is the patience of a caller. A stalled connection stands still as
// soon as the fault happens; one with a wrong length in it may, or may not.
func (b *bench) givesUp(ctx context.Context, o *outcome, cancel func()) {
	const wait = 50 * time.Millisecond
	select {
	case <-b.stuck:
		o.stuck = true
		cancel()
		return
	case <-o.trial.Hit:
	case <-ctx.Done():
		return
	}
	switch o.fault.Kind {
	case tlstest.Stall:
		cancel()
	case tlstest.Flip:
		select {
		case <-time.After(wait):
			cancel()
		case <-ctx.Done():
		}
	}
}

func (h *heard) mark() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// since counts the events after a mark, as "kind reason".
func (h *heard) since(mark int) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := make(map[string]int)
	for _, e := range h.events[mark:] {
		counts[strings.TrimSpace(e.Kind.String()+" "+e.Reason)]++
	}
	return counts
}

// check holds what every fault has to leave intact, and what is heard of it.
func (b *bench) check(t testing.TB, o *outcome) {
	t.Helper()
	if b.old {
		b.checkOld(t, o)
		return
	}
	had := min(o.before.Pooled, 1)
	if o.unasked() {
		had = 0
	}
	used, back := int(o.after.Used-o.before.Used), int(o.after.Back-o.before.Back)
	require.Equal(t, had, used+back, "one ticket at most: %v", o)
	if o.fault.Kind != tlstest.Refuse { // then the proxy has not looked
		require.Equal(t, had, o.offered, "it was sent: %v", o)
		require.Zero(t, back, "so it does not come back: %v", o)
	}
	captured := int(o.after.Captured - o.before.Captured)
	failed := int(o.after.Failed - o.before.Failed)
	require.LessOrEqual(t, captured, b.brings(o), "%v", o)
	if o.handshake == nil && o.talk == nil {
		require.Equal(t, b.brings(o), captured, "the tickets come before the answer: %v", o)
	}
	require.Equal(t, b.forfeits(o, captured), failed, "%v", o)
	require.Equal(t, o.before.Pooled-used+captured-failed, o.after.Pooled, "%v", o)
	require.Equal(t, b.expected(o, used, back, captured, failed), o.events, "%v", o)
	requireFaultsOutcome(t, o)
}

// brings is how many tickets come with a connection to which nothing happens.
func (b *bench) brings(o *outcome) int {
	if o.resumed || o.handshake != nil && o.before.Pooled > 0 {
		return 1
	}
	return b.fresh
}

// forfeits is how many of its tickets a connection takes with it: all, if it
// ended with a fatal alert, or StrictClose holds its end against it, and that
// is known.
func (b *bench) forfeits(o *outcome, captured int) int {
	ended := isAlert(o.talk) || b.strict && o.talk != nil && o.cut()
	if b.bound() && o.handshake == nil && ended {
		return captured
	}
	return 0
}

// cut reports whether the connection ended without a word, on both sides.
func (o *outcome) cut() bool {
	return o.hit && (o.fault.Kind == tlstest.Finish || o.fault.Kind == tlstest.Reset)
}

// isAlert reports whether a connection ended with a fatal alert, in the words
// of crypto/tls.
func isAlert(err error) bool {
	var op *net.OpError
	var header tls.RecordHeaderError
	return errors.As(err, &header) || errors.As(err, &op) && (op.Op == "local error" || op.Op == "remote error")
}

// unasked reports whether not even the TCP connection came about, so that no
// handshake asked for a session.
func (o *outcome) unasked() bool {
	var op *net.OpError
	return errors.As(o.handshake, &op) && op.Op == "dial"
}

// expected are the events that tell of it.
func (b *bench) expected(o *outcome, used, back, captured, failed int) map[string]int {
	events := make(map[string]int)
	add := func(n int, text string) {
		if n > 0 {
			events[text] += n
		}
	}
	missing := "none"
	switch {
	case o.unasked():
	case o.before.Pooled == 0:
		add(1, "SessionMissing none")
	default:
		missing = "refused"
	}
	add(used, "SessionEnded used")
	add(back, "SessionReturned")
	add(captured, "TicketCaptured")
	if o.cut() {
		add(failed, "SessionEnded unclean")
	} else {
		add(failed, "SessionEnded alert")
	}
	switch {
	case b.way == "TLSConfig": // it counts when the certificate is verified
		add(int(o.after.Full+o.after.Resumed-o.before.Full-o.before.Resumed), "HandshakeDone")
	case !b.bound() || o.handshake != nil:
	case o.resumed:
		add(1, "HandshakeDone")
	default:
		add(1, "HandshakeDone "+missing)
	}
	return events
}

// requireFaultsOutcome holds that the fault was one, and that what is none
// costs nothing.
func requireFaultsOutcome(t testing.TB, o *outcome) {
	t.Helper()
	failed := o.handshake != nil || o.talk != nil
	switch {
	case !o.hit, o.fault.Kind == tlstest.NoFault, o.fault.Kind == tlstest.Delay:
		require.False(t, failed, "%v", o)
		require.Equal(t, o.before.Pooled > 0, o.resumed, "%v", o)
	case o.fault.Kind == tlstest.Stall && o.handshake != nil:
		require.ErrorIs(t, o.handshake, context.Canceled, "%v", o)
	}
}

// recovers makes the next connection, to which nothing happens: it works, and
// resumes if there is anything to resume.
func (b *bench) recovers(t testing.TB, after *outcome) {
	t.Helper()
	o := b.attempt(noFault)
	require.NoError(t, o.handshake, "after %v", after)
	require.NoError(t, o.talk, "after %v", after)
	require.Equal(t, after.after.Pooled > 0, o.resumed, "after %v", after)
	b.check(t, o)
}

var noFault tlstest.Fault
