package resume

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// A serverCore is a ServerCache at work. It is made once, at first use.
//
// Of the client's half it has the books: the core counts sessions, hands out
// references and calls the user. The core's pool stays empty, as what leads to
// a server's session is not a server's name but its ticket.
//
// Locks: the pool's shards, each link, the chains and the memory of views have
// one. They are held for moments and never together; only the ledger's is taken
// under a shard's (serverCore.take).
type serverCore struct {
	books     *core
	domain    *domain // its name is ServerCache.Scope
	lifetime  time.Duration
	earlyData bool

	pool    *cache.Pool[handleKey, *session] // one value per key
	macs    *macs                            // of the handles of sessions in memory
	names   *macs                            // of TLS 1.2 sessions, by their secret
	store   *serverStore                     // nil: memory only
	keyring *ticket.Keyring                  // nil: stateful
	views   serverViews
	chains  chains
	closed  atomic.Bool
}

// served is what a server's session has besides.
type served struct {
	key  handleKey // in the pool, zero elsewhere
	free bool      // stateless: nothing ends it
}

// newServerCore reads the options once. It panics, at first use and thus while
// a program is set up, for what would be wrong in every handshake.
func newServerCore(opts *ServerCache) *serverCore {
	for name, v := range map[string]int64{
		"Lifetime": int64(opts.Lifetime), "MaxSessions": int64(opts.MaxSessions), "MaxBytes": opts.MaxBytes,
	} {
		if v < 0 {
			panic(fmt.Sprintf("resume: ServerCache.%s is negative", name))
		}
	}
	switch {
	case opts.Keyring != nil && opts.Store != nil:
		panic("resume: ServerCache with both a Store and a Keyring: sessions are in one or in the ticket")
	case opts.Keyring != nil && opts.EarlyData:
		panic("resume: ServerCache with EarlyData and a Keyring: who replays a stateless ticket repeats its 0-RTT data")
	}
	c := &serverCore{
		books: newCore(&ClientCache{
			NewSession: opts.NewSession, RemoveSession: opts.RemoveSession, Observe: opts.Observe,
		}),
		lifetime:  min(orDefault(opts.Lifetime, defaultServerLifetime), maxTicketAge),
		earlyData: opts.EarlyData,
		keyring:   opts.Keyring,
	}
	c.domain = newDomain(c.books, opts.Scope)
	c.pool = cache.NewPool(cache.Options[handleKey, *session]{
		MaxKeys:   orDefault(opts.MaxSessions, defaultMaxSessions),
		MaxPerKey: 1,
		MaxBytes:  orDefault(opts.MaxBytes, defaultServerMaxBytes),
		Dropped:   c.dropped,

		// A handle is used once, and has no place to come back to.
		ForgetEmpty: true,
	})
	// Two secrets, so that the random part of a TLS 1.2 handle, which is a MAC
	// by one and seen on the wire, tells nothing of a MAC by the other.
	c.macs, c.names = newMACs(), newMACs()
	c.store = newServerStore(c, opts.Store)
	return c
}

// dropped is the pool's word that a session left it other than by use, and
// gives the pool's reference back. Other than a client's session, one that a
// bound pushed out is at its end: whoever holds it cannot resume it, as only
// the pool leads there from the ticket.
func (c *serverCore) dropped(_ handleKey, s *session, why cache.Cause) {
	defer s.release() // also when a callback panics
	switch why {
	case cache.Expired:
		s.end(s.over)
	case cache.Evicted:
		s.end(pushedOut)
	case cache.Removed: // unless it ended before, which is why it was removed
		s.end(closed)
	}
	c.books.depart(s)
}

// remove is ServerCache.Remove. The caller holds a reference.
func (c *serverCore) remove(s *session) bool {
	return !s.served().free && c.end(s, removed)
}

// end ends a session, wherever it is, and reports whether this call did. In
// memory the verdict decides between it and a handshake that takes the session
// at the same time; in the store, which other servers ask as well, the store.
func (c *serverCore) end(s *session, v verdict) bool {
	if s.served().free {
		return false
	}
	if s.filed.Load() != nil {
		return c.store.revoke(s, v)
	}
	if !s.end(v) { // taken, or ended by another
		return false
	}
	c.pool.Remove(s.served().key, func(other *session) bool { return other == s })
	c.books.depart(s)
	return true
}

// close ends what is in memory. Tickets are made on, as crypto/tls cannot do
// without. One that is being made puts its session into the pool behind this,
// sees closed, and takes it out (serverView.wrap).
func (c *serverCore) close() {
	if c.closed.Swap(true) {
		return
	}
	c.pool.RemoveIf(func(handleKey, *session) bool { return true })
}

// stats is core.stats, of the server's pool.
func (c *serverCore) stats() Stats {
	st := c.books.ledger.snapshot()
	u := c.pool.Usage()
	st.Handles = int(c.books.handles.Load())
	st.Pooled, st.Bytes = u.Items, u.Bytes
	return st
}

// count is for what happens to no session in particular.
func (c *serverCore) count(counter *uint64) { c.books.ledger.count(counter) }

// footprint is what a session takes in memory, in round figures.
func (s *session) footprint() int64 {
	size := int64(s.size)
	if s.certificateCount() > 0 {
		size *= certificateFactor
	}
	return sessionOverhead + size
}
