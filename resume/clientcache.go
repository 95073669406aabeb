package resume

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A ClientCache keeps the sessions that servers send to the clients of one
// process, and hands each TLS 1.3 session out once. It is a
// tls.ClientSessionCache.
//
// The zero value is ready to use: memory only, default bounds. Fields must not
// change after first use; a negative one panics there. A ClientCache must not
// be copied after first use. All methods are safe for concurrent use.
//
// Sessions live in scopes (see Scope); a ClientCache plugged into a tls.Config
// directly is its own unnamed default scope.
type ClientCache struct {
	// Store keeps the sessions of named scopes outside the process: they move
	// there soon after they were received, and each is handed out once,
	// whoever shares the store. Nil means memory only.
	//
	// A handshake waits for it 50 ms at most and then goes on without; what
	// goes wrong with it is counted and told to Observe, and never fails a
	// handshake. A program that ends should call Close, or what was received
	// last is lost.
	Store *SealedStore

	// NearTickets is for a store across a network: how many sessions of each
	// server that is in use stay in the process, in front of Store, so that a
	// handshake seldom waits for it. What a process has there when it is
	// killed is lost; Flush and Close move it to Store, and so does a minute
	// without a handshake with the server. Zero means none: every session goes
	// to Store at once. It is bounded by TicketsPerServer. It is for TLS 1.3.
	NearTickets int

	// MaxServers bounds the servers that are remembered, in keys: a server
	// counts once for each scope and configuration. At the bound the one that
	// was not used for long makes room. Zero means 1024.
	MaxServers int

	// TicketsPerServer bounds the sessions of one key that came from one
	// endpoint, the address of a server with its port; those whose endpoint
	// is not known (caches plugged in, TLSConfig) count as of one more. At the
	// bound the oldest goes. Zero means 64. Of one key the sessions of 64
	// endpoints are kept.
	TicketsPerServer int

	// MaxBytes bounds tickets and sessions with their certificates, as
	// Info.Size counts them, each session as if it shared nothing. Zero means
	// 64 MiB.
	MaxBytes int64

	// MaxAge shortens the life of a session, counted from its receipt. Zero
	// means what the server granted. It is never above 7 days (RFC 8446,
	// Section 4.6.1; rule N1), or 24 hours for TLS 1.2 (rule N20).
	MaxAge time.Duration

	// MaxChainAge bounds how long sessions descend from one full handshake,
	// each resumed connection bringing the next session (rule N11). Zero
	// means 7 days. It is exact for a Dialer and NewConn, and counted per
	// server elsewhere.
	MaxChainAge time.Duration

	// StrictClose takes a peer that ends a connection without close_notify,
	// or resets it, for a failed one, whose sessions are not resumed. Popular
	// servers do that all the time, so it is not the default. It needs a
	// Dialer or NewConn.
	StrictClose bool

	// NewSession is called once for each ticket that was received, after
	// SSL_CTX_sess_set_new_cb, also for one that cannot be used, whose Status
	// says why. RemoveSession is called once for each, after NewSession has
	// returned, when it leaves the cache for good: used, expired, evicted,
	// removed or failed; its Status and Reason say which.
	//
	// Sessions that the store hands out come without NewSession: that was
	// called when they were received, here or elsewhere. One that goes to the
	// store and does not come back is told of by who takes it there, or by
	// nobody if it ends there. What
	// concerns the store is told by goroutines of the cache, so that a panic
	// ends the program.
	//
	// Both borrow the session for the call (Retain keeps it) and run outside
	// the cache's locks: they may call the cache. They run inside crypto/tls:
	// they must not read from, write to, wait on or ask anything of the
	// connection at hand (ConnectionState, VerifyHostname, OCSPResponse),
	// which would deadlock.
	NewSession    func(*Session)
	RemoveSession func(*Session)

	// Observe is told of everything that happens, under the same rules.
	Observe func(Event)

	once   sync.Once
	shared *core
}

// core makes the working parts at first use.
func (c *ClientCache) core() *core {
	c.once.Do(func() { c.shared = newCore(c) })
	if c.shared == nil {
		panic("resume: the first use of this ClientCache panicked")
	}
	return c.shared
}

// Get returns a session of the default scope for a handshake, as crypto/tls
// asks for it, and forgets it: no other call returns it. A TLS 1.2 session is
// returned as a copy and stays.
func (c *ClientCache) Get(serverKey string) (*tls.ClientSessionState, bool) {
	return c.core().plain.Get(serverKey)
}

// Put adds a session to the default scope, as crypto/tls does for each ticket
// it receives. A nil state says that a handshake failed, without saying which:
// it removes the newest TLS 1.2 session of the key and no TLS 1.3 session,
// since the one that failed is gone already. A state that this package handed
// out, or has been given before, is refused.
func (c *ClientCache) Put(serverKey string, cs *tls.ClientSessionState) {
	c.core().plain.Put(serverKey, cs)
}

// Get0Session returns the newest session of the default scope that is kept for
// a server, borrowed (SSL_get0_session): it may become invalid at any time.
// Nil when there is none.
func (c *ClientCache) Get0Session(serverKey string) *Session {
	return c.core().plain.Get0Session(serverKey)
}

// Get1Session is Get0Session with a reference of its own (SSL_get1_session),
// which the caller must Release.
func (c *ClientCache) Get1Session(serverKey string) *Session {
	return c.core().plain.Get1Session(serverKey)
}

// TLSConfig is NewScope().TLSConfig(base): a configuration walled off from
// every other. Call it once and keep the result; a second call makes a second
// scope, which shares nothing with the first.
func (c *ClientCache) TLSConfig(base *tls.Config) *tls.Config {
	return c.NewScope().TLSConfig(base)
}

// Scope returns the scope of a name, the same one for every caller. The name
// is the caller's word that all configurations used under it stand for one
// identity and one trust. An empty name panics: it is more often a tenant that
// was forgotten than a scope that is meant.
func (c *ClientCache) Scope(name string) *Scope {
	if name == "" {
		panic("resume: Scope without a name; NewScope makes an unnamed one")
	}
	k := c.core()
	return k.names.domain(k, name).scope()
}

// NewScope returns a scope that nobody else can reach. Its sessions are kept
// in memory only. Of a scope that has no sessions any more, the cache remembers
// no more than what it learnt of its servers, within MaxServers.
func (c *ClientCache) NewScope() *Scope { return newDomain(c.core(), "").scope() }

// Remove takes a session out of the cache and makes it non-resumable for all
// who hold it (SSL_CTX_remove_session). It reports whether this call did so:
// false for nil, for a session of another ClientCache, for one that has ended
// already, and for a Pending object. If a handshake is just being made with
// the session, that handshake goes on.
func (c *ClientCache) Remove(h *Session) bool {
	if st := h.Status(); st == Unknown || st == Freed || h.s.core() != c.core() || !h.s.isNamed() {
		return false
	}
	if !h.s.retain() {
		return false
	}
	defer h.s.release()
	return c.core().remove(h.s, removed)
}

// Clear removes every session of every scope, here and in the store, which it
// clears whole. Sessions of connections made by a Dialer or NewConn whose
// handshake began before do not come back, even if their tickets arrive later.
// An error is the store's, or ctx's, and means that the store may still have
// sessions; those in memory are gone.
func (c *ClientCache) Clear(ctx context.Context) error { return c.core().clear(ctx, nil) }

// Flush waits until the store has every session of a named scope that is in
// memory, and returns what went wrong on the way. Without a Store it does
// nothing.
func (c *ClientCache) Flush(ctx context.Context) error {
	k := c.core()
	if k.vault == nil {
		return nil
	}
	return k.vault.flush(ctx)
}

// Close flushes, for two seconds at most, and ends the cache: later calls find
// nothing and keep nothing, so that connections go on with full handshakes.
// What is in memory only is removed. A second Close does nothing.
func (c *ClientCache) Close() error { return c.core().close() }

// Sweep drops what has expired (SSL_CTX_flush_sessions) and returns how many
// sessions that were. Without it they go when they are met.
func (c *ClientCache) Sweep() int { return c.core().pool.Sweep(time.Now()) }

// Stats is a snapshot of the counts.
func (c *ClientCache) Stats() Stats { return c.core().stats() }

// String shows how full the cache is, and never what is in it.
func (c *ClientCache) String() string {
	if c == nil {
		return "ClientCache(nil)"
	}
	st := c.Stats()
	return fmt.Sprintf("ClientCache(%d servers, %d sessions, %d bytes)", st.Servers, st.Pooled, st.Bytes)
}

// Format writes String for every verb, so that no verb reaches a session.
func (c *ClientCache) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue is the same for log/slog.
func (c *ClientCache) LogValue() slog.Value { return slog.StringValue(c.String()) }
