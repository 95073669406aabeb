package resume

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Conn is a TLS client connection that knows its sessions: which one it
// resumed with, and which it received. It is a tls.Conn but for the names it
// adds. Make one with Scope.NewConn or a Dialer.
//
// It is safe for concurrent use as a tls.Conn is. Tickets arrive inside Read
// (rule T1): a connection that nobody reads from brings no session.
type Conn struct {
	// Set before anybody else knows the connection, by newConn or Dialer.dial,
	// and not changed after that. The shim may serve another connection by the
	// end, but its configuration is what it was.
	tls     *tls.Conn
	wire    wire // between tls and what the caller handed in
	shim    *shim
	domain  *domain
	view    *view
	counts  bool // the configuration counts handshakes itself
	unbound bool // the caller has the tls.Conn (DialTLSContext)
	warming bool // it is to bring sessions and offers none

	fetched <-chan singleflight.Result // the store was asked for it; or nil

	// What reads, writes and closes, which may run at once, look at each time:
	// hence no lock. Each stands for itself.
	settled  atomic.Bool  // it is noted how the handshake ended
	closing  atomic.Bool  // Close or Shutdown has begun to close
	notified atomic.Bool  // close_notify was sent by CloseWrite
	wasRead  atomic.Bool  // the application got data, and so the tickets before
	onTrial  atomic.Bool  // resumed, and the server has not shown that it went along
	writes   atomic.Int32 // that are under way: one that blocks may block a read
	reading  reading

	// What follows is the handshake's, which crypto/tls runs once, in whichever
	// goroutine asks first while all others wait. It needs no lock: nobody
	// looks before it is over. Whoever looks then has asked crypto/tls for the
	// handshake himself, or has seen settled, or complete under the lock.
	objected bool   // the caller's VerifyConnection refused the server
	name     string // what sessions are found under; empty until crypto/tls said
	endpoint string // the server's address, known when crypto/tls asks for a session
	lease    *lease // until the handshake ends, which settle says under the lock
	room     lease  // for one that was not made before
	birth    uint64 // core.epoch when the handshake began
	missing  string // why there was no lease
	facts    facts

	mu       sync.Mutex  // guards everything below
	complete bool        // the handshake succeeded
	last     *session    // of those received
	received []*session  // the newest, each with a reference
	first    [1]*session // where received begins: most servers send one or two
	before   *session    // stands in until the first is received, with a reference

	// Closed: references are given back. Set under the lock, and atomic for
	// shim.Put, which looks without it; what that misses, receive sees.
	ended atomic.Bool
}

// facts are what VerifyConnection was told. They are kept because asking a
// tls.Conn from within its own callbacks deadlocks. For sessions that were not
// received in the bound way they are zero, but for what a store has on record.
type facts struct {
	version       uint16 // zero: not known
	cipherSuite   uint16
	resumed       bool
	alpn          string
	leafNotAfter  int64 // Unix seconds; or noSecond
	fullHandshake int64 // Unix nanoseconds; zero: not known
	kin           kin
}

// NewConn is tls.Client in this scope: it returns a client connection over
// raw, which must not be used otherwise from then on, and whose deadlines are
// set by WaitSession and Close: it must survive one that passes, as net.Conn
// demands. Where it has none, these do without; where they have no effect,
// Close may take 60 ms and return net.ErrClosed. Sessions are told apart by
// raw's RemoteAddr: behind a forward proxy all servers of a name are one.
//
// A ClientSessionCache in config is not used. If config came from TLSConfig,
// that counts handshakes and tells of them, without the connection. Config must
// set ServerName or InsecureSkipVerify, as for tls.Client, and must not change
// after its first use; nil stands for the zero configuration.
func (s *Scope) NewConn(raw net.Conn, config *tls.Config) *Conn {
	return s.domain.newConn(raw, config, "", "")
}

// newConn makes a connection. serverName, if not empty, goes where config has
// none; name, if not empty, is what sessions are found under.
//
// The birth is set anew by Get, when the handshake begins.
func (d *domain) newConn(raw net.Conn, config *tls.Config, serverName, name string) *Conn {
	view := d.view(config)
	c := &Conn{
		domain: d, view: view, name: name, birth: d.core.epoch.Load(),
		counts: d.core.counts(view.config), shim: view.shim(serverName),
	}
	c.wire.Conn, c.wire.owner = raw, c
	c.shim.conn.Store(c)
	c.tls = tls.Client(&c.wire, c.shim.config)
	return c
}

// Get0Session returns the connection's session, borrowed (SSL_get0_session):
// the last one received. Until one is received it is, after a full TLS 1.3
// handshake, an object that cannot be resumed (Pending), and after a resumed
// handshake the session it was resumed with. Nil before the handshake has
// succeeded.
func (c *Conn) Get0Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current().borrow()
}

// Get1Session is Get0Session with a reference of its own (SSL_get1_session),
// which the caller must Release.
func (c *Conn) Get1Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.current(); s != nil {
		return s.countedHandle()
	}
	return nil
}

// Handshake runs the handshake if it has not run yet.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext is Handshake with a context. A context that is over already
// costs no ticket.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	if c.settled.Load() {
		return c.tls.HandshakeContext(ctx)
	}
	// crypto/tls would take a ticket first and then race its own first write.
	if err := ctx.Err(); err != nil {
		return err
	}
	// Aborted by a panic, or by the end of the goroutine, in a callback: then
	// err is not assigned, and the lease is to end all the same.
	err := errAborted
	defer func() { c.settle(err) }()
	err = c.tls.HandshakeContext(ctx)
	return err
}

// errAborted is how a handshake ended that did not return. No caller sees it.
var errAborted = errors.New("resume: handshake aborted")

// Read reads application data. Sessions that the server sent before it are
// received on the way. After Close it is net.ErrClosed, whatever had come.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.handshakeFirst(); err != nil {
		return 0, err
	}
	if n, err := c.beginRead(b); n > 0 || err != nil {
		return n, err
	}
	defer c.reading.endRead() // also when a callback panics
	n, err := c.tls.Read(b)
	if n > 0 {
		// Looked at first: a store at each Read would take the cache line away
		// from whoever writes.
		if !c.wasRead.Load() {
			c.wasRead.Store(true)
		}
		c.judge(false)
	}
	c.noteRead(err)
	return n, err
}

// Write writes application data. It is counted while it lasts, so that Close
// does not begin a read that could be blocked behind it.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.handshakeFirst(); err != nil {
		return 0, err
	}
	c.writes.Add(1)
	defer c.writes.Add(-1)
	n, err := c.tls.Write(b)
	c.noteWrite(err)
	return n, err
}

// ConnectionState is that of the tls.Conn. Within NewSession, RemoveSession,
// Observe and VerifyConnection it deadlocks.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// OCSPResponse returns the stapled response of the server, if any.
func (c *Conn) OCSPResponse() []byte { return c.tls.OCSPResponse() }

// VerifyHostname checks the peer's certificate chain against a name.
func (c *Conn) VerifyHostname(host string) error { return c.tls.VerifyHostname(host) }

// NetConn returns the connection that was handed in. Reading from it, writing
// to it or closing it corrupts the TLS connection.
func (c *Conn) NetConn() net.Conn { return c.wire.Conn }

// LocalAddr, RemoteAddr and the deadlines are those of the tls.Conn. After a
// Write deadline has passed, the connection stays broken for writing.
func (c *Conn) LocalAddr() net.Addr                { return c.tls.LocalAddr() }
func (c *Conn) RemoteAddr() net.Addr               { return c.tls.RemoteAddr() }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.setReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.setReadDeadline(t), c.tls.SetWriteDeadline(t))
}

// String says whom the connection leads to.
func (c *Conn) String() string {
	if c == nil || c.tls == nil {
		return "Conn(nil)"
	}
	return fmt.Sprintf("Conn(%v)", c.RemoteAddr())
}

// Format writes String for every verb, so that no verb reaches a secret.
func (c *Conn) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue is the same for log/slog.
func (c *Conn) LogValue() slog.Value { return slog.StringValue(c.String()) }

// handshakeFirst does what crypto/tls does before it reads or writes, but by
// HandshakeContext, so that the lease is settled. A handshake that failed is
// settled, too: crypto/tls has kept its error and returns it.
func (c *Conn) handshakeFirst() error {
	if c.settled.Load() {
		return nil
	}
	return c.Handshake()
}

// leafNotAfter is the end of the server's certificate; zero where there is
// none.
func leafNotAfter(chain []*x509.Certificate) time.Time {
	if len(chain) == 0 {
		return time.Time{}
	}
	return chain[0].NotAfter
}

// settle notes how the handshake ended, once, and ends its lease. All who asked
// for the handshake come here, and the first to come counts.
//
// Under the lock it does what others may look at as soon as they see settled,
// which is stored last: a Read that goes on then must find the trial that its
// data end. What may call the user, or the pool, comes after the lock. A
// callback that panics there costs the handshake its place in Stats, and not
// the session its verdict.
func (c *Conn) settle(err error) {
	c.mu.Lock()
	if c.settled.Load() {
		c.mu.Unlock()
		return
	}
	l := c.lease
	c.lease = nil
	// It is nil after a handshake that succeeded, which is when crypto/tls lets
	// a CloseWrite or Close write: they may be reading it at this moment.
	if c.wire.watched != nil {
		c.wire.watched = nil
	}
	c.complete = err == nil
	resumed := c.complete && l != nil && c.facts.resumed
	// A reference of its own, as the lease gives its one back below. A
	// connection that has ended takes none: nobody would give it back.
	if resumed && !c.ended.Load() && l.s.retain() {
		c.before = l.s
	}
	if resumed {
		c.onTrial.Store(true)
	}
	c.settled.Store(true)
	c.mu.Unlock()

	if c.unbound || c.facts.version < tls.VersionTLS13 {
		c.judge(false) // nothing more will be seen, or all has been
	}
	if l != nil {
		c.settleLease(l, err)
	}
	if err != nil || c.counts { // which tells, too
		return
	}
	c.domain.core.ledger.handshake(c.facts.resumed)
	if c.domain.core.observe != nil {
		c.tellHandshake(l)
	}
}

// tellHandshake comes when the lease is over: an Observe that asks for the
// session finds its verdict, and only whether it was offered is left to say.
func (c *Conn) tellHandshake(l *lease) {
	c.domain.core.event(Event{
		Kind: HandshakeDone, Scope: c.domain.name, Server: c.name,
		Conn: c, Resumed: c.facts.resumed, Reason: c.whyFull(l),
	})
}

// settleLease ends the lease of a handshake that ended with err, and learns
// from it. A failure speaks against the server only if that had answered, for
// which there is a round trip.
//
// To learn may call Observe, so the end of the lease is deferred, and comes
// with a panic as well. What it needs of the lease, letGo forgets, so that is
// last.
func (c *Conn) settleLease(l *lease, err error) {
	core := c.domain.core
	broke := !c.objected && !c.wire.closedHere() && serversFault(err)
	defer l.letGo()
	defer core.settle(l, broke) // also when a callback panics
	if l.offered {
		core.learn(l.s, c.key(), c.endpoint, c.facts.resumed, broke && c.wire.roundTrip > 0, err)
	}
}

// whyFull is why the handshake was not a resumed one; empty if it was.
func (c *Conn) whyFull(l *lease) string {
	switch {
	case c.facts.resumed:
		return ""
	case l == nil:
		return c.missing
	case l.offered:
		return "refused"
	}
	return "not-offered"
}
