package resume

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// A ServerCache is the server's half: it makes the tickets of a TLS server and
// says which of them resume. It fills WrapSession and UnwrapSession of
// configurations that it makes with TLSConfig and NewListener.
//
// The zero value keeps sessions in memory, and each is resumed once: a ticket
// is a random handle, and who presents it takes the session out. A second
// presentation, at once or later, is a full handshake. Since crypto/tls sends a
// ticket on every connection, also a resumed one and also in TLS 1.2, a client
// that takes the new one each time resumes for as long as it comes.
//
// With a Store the sessions are there, for all servers that share it. With a
// Keyring there is no memory at all: the ticket itself is the session, sealed.
// That scales without bound, but such a ticket can be presented any number of
// times until it expires, and nothing can revoke it.
//
// Fields must not change after first use; what does not go together panics
// there. A ServerCache must not be copied after first use. All methods are safe
// for concurrent use.
type ServerCache struct {
	// Store keeps the sessions, shared by a fleet of servers. A session is in
	// the store before its ticket is sent, and a server that is asked for one
	// takes it there, which succeeds once. A handshake waits 50 ms at most,
	// and then is a full one; a session that the store did not take stays in
	// memory, where this server finds it.
	Store *SealedStore

	// Keyring makes tickets stateless: they are sealed with its first key and
	// opened with any. Keys may be changed while it serves (ticket.Keyring.Set)
	// and shared by a fleet. Together with Store or EarlyData it panics.
	Keyring *ticket.Keyring

	// Scope names what the configurations used with this cache, here and on
	// the other servers that share its Store or Keyring, have in common: one
	// identity, one trust, one policy towards clients. It is the operator's
	// word; nothing resumes under another name. Without a name, sessions of
	// configurations that ask for client certificates resume only under the
	// very configuration they were made under, in this process, since neither
	// pools of roots nor hooks can be compared.
	Scope string

	// Lifetime is how long a session can be resumed. Zero means 24 hours; it
	// is never above 7 days, nor for TLS 1.2 above 24 hours. Clients are told 7
	// days, which crypto/tls fixes, and meet a full handshake after it.
	Lifetime time.Duration

	// MaxSessions and MaxBytes bound the sessions in memory: at a bound the
	// oldest goes, with MaxSessions of 1024 or more the oldest of one shard in
	// 32. Bytes are counted as Stats.Bytes does. Zero means 100 000 and
	// 256 MiB.
	MaxSessions int
	MaxBytes    int64

	// EarlyData lets QUIC servers accept 0-RTT, which is safe against replay
	// because each session is taken once: in memory, and as far as the Store
	// never brings back what it has removed. A store that may, such as a
	// redisstore with Options.Survive after a failover, accepts a replay's
	// early data again for each session that came back: set both only with
	// Options.Replicas, or for requests that may be done twice.
	//
	// False means that 0-RTT is never accepted. The QUIC library has a switch
	// of its own (quic.Config.Allow0RTT, on for an http3.Server), by which
	// crypto/tls tells clients whether to try. Turn that off as well: what
	// clients send early in vain fails, with quic-go the streams of the whole
	// connection until its NextConnection is called.
	EarlyData bool

	// NewSession is called once for each ticket, just before it is sent, and
	// RemoveSession once for each session that leaves for good: used, expired,
	// evicted, removed or failed. One that went to the store is told of by the
	// server that takes it there; a stateless one never ends. Observe is told
	// of everything that happens. They borrow the session for the call, run
	// inside the handshake, outside the cache's locks, and must not use or ask
	// the connection at hand.
	NewSession    func(*Session)
	RemoveSession func(*Session)
	Observe       func(Event)

	once   sync.Once
	shared *serverCore
}

// core makes the working parts at first use.
func (c *ServerCache) core() *serverCore {
	c.once.Do(func() { c.shared = newServerCore(c) })
	if c.shared == nil {
		panic("resume: the first use of this ServerCache panicked")
	}
	return c.shared
}

// TLSConfig returns a clone of base whose tickets are made and read by the
// cache, for a server that wants a configuration, such as http.Server or a
// QUIC listener. It may be cloned and changed like any other, but for what it
// asks of clients. Its handshakes are counted. A nil base stands for the zero
// configuration, and what TLSConfig of the same cache made is returned as it is.
//
// ClientAuth and VerifyPeerCertificate must be set in base: the cache does not
// see what is changed later, and takes all clones for one configuration. A
// session that a clone made which asks less resumes under one that asks more,
// and crypto/tls does not call VerifyPeerCertificate then.
//
// A base with a WrapSession or UnwrapSession panics: one of two layers would
// be passed over in silence. Configurations that base's GetConfigForClient
// returns are treated as base is, and with one that wraps sessions itself the
// handshake fails.
//
// The connection is not known this way, so of several tickets in one
// ClientHello each that was made here costs a look-up, and two handshakes
// under one name at the same instant may swap what is known of their chain of
// resumptions. NewListener has neither limit.
func (c *ServerCache) TLSConfig(base *tls.Config) *tls.Config { return c.core().tlsConfig(base) }

// NewListener is the counterpart of tls.NewListener: it accepts connections
// from inner and makes them TLS servers with config, which is treated as the
// base of TLSConfig is, or is its result; a clone of that result wraps sessions
// itself, and panics. Accept returns a *tls.Conn, whose NetConn is a wrapper
// around what inner gave, with a NetConn method of its own that returns it.
func (c *ServerCache) NewListener(inner net.Listener, config *tls.Config) net.Listener {
	core := c.core()
	return &serverListener{Listener: inner, core: core, view: core.view(config)}
}

// Get0Session returns the last session that was sent on a connection, or, if
// none was, the connection's own: the one it resumed, or a Pending object with
// its facts (SSL_get0_session). It is borrowed: it may become invalid at any
// time. Nil before the handshake has come to it, and for a connection that no
// listener of this cache accepted.
func (c *ServerCache) Get0Session(conn net.Conn) *Session {
	return c.core().linkOf(conn).session().borrow()
}

// Get1Session is Get0Session with a reference of its own (SSL_get1_session),
// which the caller must Release.
func (c *ServerCache) Get1Session(conn net.Conn) *Session {
	s := c.core().linkOf(conn).session()
	if s == nil {
		return nil
	}
	return s.countedHandle()
}

// Remove revokes a session: its ticket can no longer be resumed, on any server
// (SSL_CTX_remove_session). It reports whether this call saw to that: false for
// nil, for a session of another cache, one that has ended already, a Pending
// object and a stateless session, which nothing can revoke. It is false, too,
// when the store does not answer: the session is as it was, and another call
// may succeed. A TLS 1.2 session that is not in the store, since another
// handshake has it in hand, is waited for, 100 ms at most.
func (c *ServerCache) Remove(h *Session) bool {
	core := c.core()
	if st := h.Status(); st == Unknown || st == Freed || h.s.core() != core.books || !h.s.isNamed() {
		return false
	}
	if !h.s.retain() {
		return false
	}
	defer h.s.release()
	return core.remove(h.s)
}

// Stats is a snapshot of the counts. Here Captured counts sessions that were
// sent, Refused the tickets presented that were not made for who presented
// them, and Missed those that were, of which the session was not there any
// more or could not be used. Bytes counts besides Info.Size what a session and
// its certificates take in memory, in round figures. Stateless sessions remain
// Kept.
func (c *ServerCache) Stats() Stats { return c.core().stats() }

// Close drops all sessions in memory and ends the cache: later handshakes are
// full ones, and the tickets they send resume nothing. What is stored stays. A
// second Close does nothing.
func (c *ServerCache) Close() error {
	c.core().close()
	return nil
}

// String shows how full the cache is, and never what is in it.
func (c *ServerCache) String() string {
	if c == nil {
		return "ServerCache(nil)"
	}
	st := c.Stats()
	return fmt.Sprintf("ServerCache(%d sessions, %d bytes)", st.Pooled, st.Bytes)
}

// Format writes String for every verb, so that no verb reaches a session.
func (c *ServerCache) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue is the same for log/slog.
func (c *ServerCache) LogValue() slog.Value { return slog.StringValue(c.String()) }
