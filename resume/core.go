package resume

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/tlsresume/tlsresume/cache"
)

// serverKey is what a session is found under: whose it is, and the server. It
// is compared as it is: no hash or string is made for it at each connection
// (docs/decisions/0016).
type serverKey struct {
	space unique.Handle[space]
	name  string // crypto/tls's key (rule T4), or name:port for a Dialer
}

// A space is a security domain and what the layer can see of a configuration.
// Handles of equal ones are equal, wherever they were made.
type space struct {
	domain *domain
	print  configPrint
}

// domain is nil for the zero key.
func (k serverKey) domain() *domain {
	if k.space == (unique.Handle[space]{}) {
		return nil
	}
	return k.space.Value().domain
}

// A core is a ClientCache at work. It is made once, at first use.
//
// Of its locks a shard's of the pool may be held while the ledger's is taken,
// as by fit, and never the other way. The user is called under none.
type core struct {
	// Set by newCore and not changed after that.
	perServer   int // sessions of a key and endpoint
	maxAge      time.Duration
	maxChainAge time.Duration
	strictClose bool

	onNew    func(*Session)
	onRemove func(*Session)
	observe  func(Event)

	pool    *cache.Pool[serverKey, *session]
	servers *cache.Pool[serverKey, *server] // at most one value per key
	adding  sync.Mutex                      // guards the first Put of a key to servers
	names   *names
	vault   *vault // nil: memory only
	plain   *Scope // what a ClientCache is when plugged in directly

	closed  atomic.Bool // set before the pool is emptied: see pooled
	ledger  ledger
	handles atomic.Int64  // counted handles that are out
	serial  atomic.Uint64 // the last session.serial

	// epoch counts the calls of Clear. A session is cleared when the epoch of
	// its handshake is older than the last Clear of its domain, or of all. So a
	// Clear reaches what it cannot see: tickets still on their way, and
	// sessions in somebody's hands. They are atomic, as each look at a session
	// asks, and none goes back: of two Clears the later one stays.
	epoch     atomic.Uint64
	clearedAt atomic.Uint64
}

// newCore reads the options once: they must not change, and nothing else looks
// at them. A negative one panics at first use, and again at each later
// one, since the Once of the ClientCache takes that for done.
func newCore(opts *ClientCache) *core {
	notNegative("MaxServers", opts.MaxServers)
	notNegative("TicketsPerServer", opts.TicketsPerServer)
	notNegative("NearTickets", opts.NearTickets)
	notNegative("MaxBytes", opts.MaxBytes)
	notNegative("MaxAge", opts.MaxAge)
	notNegative("MaxChainAge", opts.MaxChainAge)
	c := &core{
		maxAge:      min(orDefault(opts.MaxAge, maxTicketAge), maxTicketAge),
		maxChainAge: min(orDefault(opts.MaxChainAge, defaultMaxChainAge), maxMaxChainAge),
		strictClose: opts.StrictClose,
		onNew:       opts.NewSession,
		onRemove:    opts.RemoveSession,
		observe:     opts.Observe,
		names:       newNames(),
	}
	c.perServer = orDefault(opts.TicketsPerServer, defaultTicketsPerServer)
	maxServers := orDefault(opts.MaxServers, defaultMaxServers)
	c.pool = cache.NewPool(cache.Options[serverKey, *session]{
		MaxKeys:   maxServers,
		MaxPerKey: c.perServer,
		MaxGroups: maxEndpoints,
		MaxBytes:  orDefault(opts.MaxBytes, defaultMaxBytes),
		Dropped:   c.dropped,
	})
	c.servers = cache.NewPool(cache.Options[serverKey, *server]{MaxKeys: maxServers, MaxPerKey: 1})
	c.vault = newVault(c, opts.Store)
	if c.vault != nil {
		c.vault.near.size = min(opts.NearTickets, c.perServer)
	}
	c.plain = newDomain(c, "").scope()
	return c
}

// notNegative is loud, since to take a bound for none, or for the default,
// would be wrong in silence.
func notNegative[T int | int64 | time.Duration](name string, v T) {
	if v < 0 {
		panic(fmt.Sprintf("resume: ClientCache.%s is negative", name))
	}
}

// orDefault gives the zero value of an option its meaning.
func orDefault[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// dropped is the pool's word that a session left it, and gives the pool's
// reference back. It comes after the pool's locks, in the goroutine whose call
// was the cause: a handshake's, often enough, which then calls RemoveSession.
//
// What a pick function refused has ended already. An evicted one that is just
// being written does not depart yet.
func (c *core) dropped(_ serverKey, s *session, why cache.Cause) {
	defer s.release() // also when a callback panics
	switch why {
	case cache.Expired:
		s.end(s.over)
	case cache.Evicted:
		if !s.evict() {
			return
		}
	case cache.Removed: // unless it ended before, which is why it was removed
		if c.closed.Load() {
			s.end(closed)
		} else {
			s.end(cleared)
		}
	}
	c.depart(s)
}

// Bits of session.spoken. They share a word, so that of announce and depart,
// which may come at once, one sees the other's bit and says farewell.
const (
	announced = 1 << iota // NewSession has returned
	departed              // the session has left the cache
	queued                // it waits for the vault's writer
)

// announce calls NewSession. A session may be taken by somebody else before it
// returns; its RemoveSession then waits and is called here, so that the two
// always come in order. The caller holds a reference.
func (c *core) announce(s *session, conn *Conn) {
	// The same without the defers, which a cache that nobody listens to need
	// not pay for.
	if c.onNew == nil && c.observe == nil {
		if s.spoken.Or(announced)&departed != 0 {
			c.farewell(s)
		}
		return
	}
	defer func() { // also when the callback panics
		if s.spoken.Or(announced)&departed != 0 {
			c.farewell(s)
		}
	}()
	defer func() {
		if c.onNew != nil {
			c.onNew(s.borrow())
		}
	}()
	c.eventOf(s, Event{Kind: TicketCaptured, Conn: conn})
}

// depart says, once for each session, that it has left the cache for good. The
// caller holds a reference and no lock. If NewSession has not returned yet, it
// is left to announce.
func (c *core) depart(s *session) {
	if s.spoken.Or(departed)&(announced|departed) == announced {
		c.farewell(s)
	}
}

// farewell is the last that is heard of a session. Its verdict is final by now,
// but for an evicted one, which its holders may use.
func (c *core) farewell(s *session) {
	if c.onRemove == nil && c.observe == nil {
		return
	}
	defer func() { // also when Observe panics
		if c.onRemove != nil {
			c.onRemove(s.borrow())
		}
	}()
	c.eventOf(s, Event{Kind: SessionEnded})
}

// newest is the newest pooled session of a key, with a reference.
func (c *core) newest(key serverKey) *session {
	s, _ := c.pool.Newest(key, (*session).retain)
	return s
}

// remove ends a session everywhere. First the end, which is what single use and
// Stats go by, and which one caller gets; then the traces, which may take calls
// of the pool and a job for the writer; then the user is told. The caller holds
// a reference.
func (c *core) remove(s *session, v verdict) bool {
	if !s.end(v) {
		return false
	}
	c.finish(s, v)
	c.depart(s)
	return true
}

// finish takes a session that has just ended with v out of pool and store. It
// may have twins in the pool: one that was stored has been fetched since, or a
// server sends the ticket of a TLS 1.2 session again with each connection.
func (c *core) finish(s *session, v verdict) {
	c.unpool(s)
	where := s.filed.Load()
	if where != nil {
		// Before the pool is looked through for what a fetch has brought: that
		// looks for a doom behind its own Put, so one of us finds the other.
		c.vault.doom(*where, v)
	}
	for where != nil || s.reusable() {
		var twin *session
		if !c.pool.Remove(s.key, func(other *session) bool {
			if other.id != s.id || !other.end(v) {
				return false
			}
			twin = other
			return twin.retain()
		}) {
			break
		}
		c.vault.forget(twin) // which may be stored where this one is not
		twin.release()
	}
	c.vault.forget(s)
}

// forfeit ends a session whose connection failed, unless it is used: one that
// another handshake has in hand ends when that gives it back.
//
// The fate is noted before the verdict is looked at, and giveBack restores the
// verdict before it looks for a fate: whichever comes last ends the session.
// One that the writer has in hand is ended here all the same, and he takes it
// out of the store again.
func (c *core) forfeit(s *session, v verdict) {
	s.fate.CompareAndSwap(none, v)
	if now := s.verdict.Load(); !now.isLeased() || now == stowing || now == stowingEvicted {
		c.remove(s, v)
	}
}

// unpool takes an ended session out of the pool, if it is there. The pool's
// reference goes with it (see dropped), and so the caller needs one of his own.
func (c *core) unpool(s *session) {
	c.pool.Remove(s.key, func(other *session) bool { return other == s })
}

// withdraw takes a session out of the pool that goes on elsewhere, and gives
// the pool's reference back. Taken and not removed, it is not told of as
// dropped: to be stored is no end. By a time of zero none is too old.
func (c *core) withdraw(s *session) {
	_, ok := c.pool.TakeFrom(s.key, s.endpoint, time.Time{}, func(other *session) cache.Verdict {
		if other == s {
			return cache.Take
		}
		return cache.Skip
	})
	if ok {
		s.release()
	}
}

// close makes every later call a miss. What is stored stays.
//
// The vault is first, as long as sessions can still be written. Then closed is
// set and the pool emptied, in this order: what is put there behind it finds
// closed set and goes by itself (see pooled). Two at once do no harm.
func (c *core) close() error {
	if c.closed.Load() {
		return nil
	}
	var err error
	if c.vault != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeDeadline)
		defer cancel()
		err = c.vault.close(ctx)
	}
	c.closed.Store(true)
	c.pool.RemoveIf(func(serverKey, *session) bool { return true })
	return err
}

// outdate begins an epoch, and clears a domain, or all if it is nil, of what
// was begun in earlier ones.
func (c *core) outdate(d *domain) (now uint64) {
	at := &c.clearedAt
	if d != nil {
		at = &d.clearedAt
	}
	now = c.epoch.Add(1)
	// Of two at once the later epoch is to stay, whoever comes last.
	for was := at.Load(); was < now && !at.CompareAndSwap(was, now); was = at.Load() {
	}
	return now
}

// clear drops the sessions of a domain, or all if it is nil, and makes sure
// that none whose handshake has begun comes back.
func (c *core) clear(ctx context.Context, d *domain) (err error) {
	now := c.outdate(d)
	name := ""
	if d != nil {
		name = d.name
	}
	// In this order from below, whatever callback panics on the way.
	defer c.event(Event{Kind: Cleared, Scope: name})
	defer func() { err = c.vault.clear(ctx, d) }()
	// What is noted of servers and their chains has no birth, and goes by key.
	within := func(key serverKey) bool { return d == nil || key.domain() == d }
	defer c.pool.ForgetNotes(within)
	defer c.servers.RemoveIf(func(key serverKey, _ *server) bool { return within(key) })
	c.pool.RemoveIf(func(key serverKey, s *session) bool { return within(key) && s.birth < now })
	return nil
}
