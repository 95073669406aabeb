package resume

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/cache"
)

// Warm brings the sessions of a server to n, for a burst of connections that
// is about to come: single use resumes no more of them than there are tickets.
// It makes full handshakes, several at a time, that offer no session, for a
// resumed one would bring no more than it takes; waits for what the server
// sends; and closes. They are at most as many as sessions are missing, and
// fewer where a server sends several. It returns how many sessions the server
// has then.
//
// It falls short, without an error, where TicketsPerServer or another bound is
// in the way, and with TLS 1.2, where one session serves all connections. The
// error is ErrNoTicket when the server sends none, and otherwise that of a
// dial, or of ctx; no dial is begun after it. The field Session is not used.
// What is in the Store is not counted, nor taken out of it: with one, Warm adds
// to what is there.
//
// Observe sees it go on: a HandshakeDone with reason warming for each
// connection, and a TicketCaptured for each session. Stats count these
// handshakes as full, which they are.
func (d *Dialer) Warm(ctx context.Context, network, addr string, n int) (int, error) {
	if d.Scope == nil || d.Scope.domain == nil {
		return 0, errNoScope
	}
	own := *d
	own.Session = nil
	_, name := serverNames(addr, d.Config)
	core := d.Scope.domain.core
	w := &warming{
		dialer: &own, ctx: ctx, network: network, addr: addr, n: min(n, core.perServer),
		key: serverKey{space: d.Scope.domain.view(d.Config).space, name: name},
	}
	w.before = core.usable(w.key)
	return w.run()
}

// A warming is one call of Warm.
type warming struct {
	dialer        *Dialer
	ctx           context.Context
	network, addr string
	key           serverKey
	n             int // sessions to have in the end
	before        int // sessions that were there
	gained        int // sessions that came
}

// core is the cache that is warmed.
func (w *warming) core() *core { return w.key.domain().core }

// run makes one connection, to learn how many sessions the server sends, and
// then as many as are missing; again, if some brought fewer. It never makes
// more than sessions were missing at first, however few they bring, and ends
// with the first round after which there are no more than before: two who warm
// the same server, or a bound, would otherwise keep each other at it.
func (w *warming) run() (have int, err error) {
	have = w.before
	for dials, each := 0, w.n; have < w.n && err == nil && !w.core().shares(w.key); {
		round := min((w.n-have+each-1)/each, w.n-w.before-dials)
		if round <= 0 {
			break
		}
		var brought int
		brought, err = w.dial(round, w.n-have)
		dials, w.gained = dials+round, w.gained+brought
		was := have
		if have = w.have(); have <= was {
			break // a bound is in the way, or others are as quick to take
		}
		each = max(1, brought/round)
	}
	return have, err
}

// have counts what is stored by what came, since it has left the pool. What is
// not stored it counts in the pool, as others may take from there meanwhile.
func (w *warming) have() int {
	core := w.core()
	if core.vault.keeps(w.key) {
		return w.before + w.gained
	}
	return core.usable(w.key)
}

// dial makes so many connections and returns how many sessions they brought.
// None is begun any more once they have brought enough, which they may if the
// first was a bad example. Nor is any after a failure: a server that is gone
// would cost the time it takes to give up, once for each session that is
// missing. Those under way go on, and what they bring counts. A callback that
// panics in one of them does so in the caller, when they have ended.
func (w *warming) dial(connections, enough int) (int, error) {
	var group errgroup.Group
	group.SetLimit(warmParallel)
	var brought atomic.Int64
	var failed atomic.Bool
	var panicked atomic.Pointer[any]
	for range connections {
		group.Go(func() error {
			defer func() {
				if value := recover(); value != nil {
					failed.Store(true)
					panicked.Store(&value)
				}
			}()
			if failed.Load() || int(brought.Load()) >= enough {
				return nil
			}
			n, err := w.dialer.fetchSessions(w.ctx, w.network, w.addr)
			brought.Add(int64(n))
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	err := group.Wait()
	if value := panicked.Load(); value != nil {
		panic(*value)
	}
	return int(brought.Load()), err
}

// fetchSessions makes one connection for the sessions that it brings. The first
// is waited for; the others of the same flight are there by then, or a moment
// later (see wire.readWhatIsThere).
func (d *Dialer) fetchSessions(ctx context.Context, network, addr string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c, err := d.dial(ctx, network, addr, toWarm)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	patience, cancel := context.WithTimeout(ctx, warmPatience)
	defer cancel()
	_, err = c.WaitSession(patience)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = ErrNoTicket
	}
	if err != nil {
		return 0, err
	}
	c.collect()
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.received), nil
}

// usable counts the pooled sessions of a key that a handshake would get now. It
// looks as a handshake does, and takes none.
func (c *core) usable(key serverKey) (n int) {
	now := time.Now()
	c.pool.Take(key, now, func(s *session) cache.Verdict {
		if s.verdict.Load() == live && s.current(now) == live {
			n++
		}
		return cache.Skip
	})
	return n
}

// shares reports whether the key has a TLS 1.2 session, which serves all.
func (c *core) shares(key serverKey) bool {
	_, ok := c.pool.Newest(key, func(s *session) bool { return s.reusable() && s.verdict.Load() == live })
	return ok
}
