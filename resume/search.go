package resume

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tlsresume/tlsresume/cache"
)

// A search is for a session that one handshake can use. A connection that
// knows its endpoint prefers a session from there, and takes another as long
// as the endpoints of the name may share their ticket keys.
type search struct {
	key      serverKey
	view     *view
	endpoint string                     // of the connection; empty: not known
	fetched  <-chan singleflight.Result // prefetch has asked the store; or nil

	// Both clocks are read once, before any lock: a session is not to fit by one
	// look at the clock and lapse by the next.
	now    time.Time // our clock
	theirs time.Time // the configuration's, which take adds; zero: the same

	// What take adds besides.
	core     *core
	anywhere bool   // sessions of other endpoints will do
	missing  string // what was wrong with the last session seen
}

// take leases the newest session of a key that fits now, or says why there is
// none. Back-off is for the bound way, which knows how its handshakes end. The
// lease is the caller's to place: who uses the session at once needs no memory
// for it.
//
// If it succeeds, the lease has a reference: the pool's, of a session taken
// out, or for TLS 1.2 one of its own beside that (see fit). The caller is to
// give it back whatever becomes of the handshake.
func (c *core) take(l *lease, q *search, bound bool) (missing string, ok bool) {
	if c.closed.Load() {
		return c.miss(closed.reason())
	}
	known := c.known(q.key)
	if bound && known.silent(q.now) {
		c.ledger.count(&c.ledger.backedOff)
		return c.miss("back-off")
	}
	q.core, q.theirs = c, q.view.clock()
	// Whoever does not know its endpoint cannot prefer one either.
	q.anywhere = q.endpoint == "" || known.sharesKeys(q.now)
	item, ok := q.find()
	if !ok {
		c.endChain(q.key, q.now)
		return c.miss(q.missing)
	}
	l.s, l.place, l.pooled = item.Value, item.Place, !item.Value.reusable()
	if err := l.open(); err != nil {
		// It ended just now, and the first verdict stands; or it is of TLS 1.2,
		// cannot be copied, and would fail everyone else, too.
		l.s.end(handshakeError)
		c.unpool(l.s)
		c.release(l)
		return c.miss("encoding")
	}
	return "", true
}

// miss counts. Why there is no session, the caller tells, who knows for whom.
func (c *core) miss(why string) (string, bool) {
	c.ledger.count(&c.ledger.missed)
	return why, false
}

// find looks in the pool and then in the store. The store is not asked if there
// are sessions here that only another endpoint takes: it knows no endpoints,
// and would as likely hand out more of the same, which others then miss.
//
// The near tier hears of it after the look, so that it counts what is left.
func (q *search) find() (item cache.Item[*session], ok bool) {
	item, ok = q.look()
	if vault := q.core.vault; vault.keeps(q.key) {
		if !ok && !q.apart() {
			item, ok = q.lookFurther()
		}
		vault.wanted(q.key, q.view, q.now)
	}
	if !ok && q.missing == "none" && q.apart() {
		q.missing = "endpoint"
	}
	return item, ok
}

// look looks in the pool. Of all that is in the way there, missing keeps what
// was seen last: the oldest session that did not fit. The claim is made by fit,
// under the lock of the key's shard, so that what is returned is ours already.
//
// The pool tells of what it dropped on the way when the claim is made: if a
// callback panics over that, what was claimed goes back.
func (q *search) look() (item cache.Item[*session], ok bool) {
	q.missing = "none"
	var claimed *session
	defer func() {
		if claimed != nil && !ok {
			q.core.giveBack(&lease{s: claimed, pooled: true})
		}
	}()
	pick := func(s *session) cache.Verdict {
		verdict, why := s.fit(q.now, q.theirs)
		if why != "" {
			q.missing = why
		}
		if verdict == cache.Take || verdict == cache.Share {
			claimed = s
		}
		return verdict
	}
	if q.endpoint != "" {
		item, ok = q.core.pool.TakeFrom(q.key, q.endpoint, q.now, pick)
	}
	if !ok && q.anywhere {
		item, ok = q.core.pool.Take(q.key, q.now, pick)
	}
	return item, ok
}

// lookFurther looks again after each fetch from the store, until one brought
// nothing or the patience of a handshake is over. It looks after that one, too:
// what others fetched for all, or received, may have come behind the last look.
// If what came is of no use here, more of it would not be either.
func (q *search) lookFurther() (item cache.Item[*session], ok bool) {
	vault := q.core.vault
	ctx, cancel := context.WithTimeout(context.Background(), takeDeadline)
	defer cancel()
	defer vault.queueUp(q.key)()
	for more := true; more && !ok; {
		more = vault.fetch(ctx, q.key, q.view, q.fetched)
		q.fetched = nil
		if item, ok = q.look(); !ok && (q.missing != "none" && q.missing != leased.reason() || q.apart()) {
			break
		}
	}
	return item, ok
}

// prefetch asks the store while the network connects, if the pool has nothing
// for the handshake to come. What nobody uses stays in the pool. It does not
// look at the sessions' time or endpoint: that is for take, which asks again.
func (c *core) prefetch(key serverKey, seen *view) <-chan singleflight.Result {
	if !c.vault.keeps(key) || c.holds(key) || !c.vault.isWorthAsking(key) || c.known(key).silent(time.Now()) {
		return nil
	}
	return c.vault.share(key, seen)
}

// apart reports whether there are sessions, but of endpoints that share nothing
// with this one.
func (q *search) apart() bool { return !q.anywhere && q.core.holds(q.key) }

// holds reports whether the pool has any session of a key, as cheaply as can
// be: without a claim, and whatever its age.
func (c *core) holds(key serverKey) bool {
	_, ok := c.pool.Newest(key, nil)
	return ok
}
