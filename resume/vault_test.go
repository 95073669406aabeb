package resume

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

// Callbacks may call the cache, also those that the store causes: what waits
// for the writer must not be waited for by it.
func TestCallbacksOfTheStoreMayFlushAndClear(t *testing.T) {
	for _, row := range []struct {
		why  string
		late error // of Put
		with func(c *ClientCache, call func())
	}{
		{"Observe of a session stored", nil, func(c *ClientCache, call func()) {
			c.Observe = func(e Event) {
				if e.Kind == SessionStored {
					call()
				}
			}
		}},
		{"RemoveSession of one the store lost", errors.New("the reply was lost"), func(c *ClientCache, call func()) {
			c.RemoveSession = func(*Session) { call() }
		}},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, f := newPeer(t), newFleet()
				f.shelf.late = row.late
				f.shelf.slow("delete", time.Minute) // longer than anybody waits
				c := &ClientCache{Store: Seal(f.shelf, f.keys)}
				took := make(chan time.Duration, 1)
				row.with(c, func() {
					began := time.Now()
					c.Flush(context.Background())
					c.Scope("tenant").Clear(context.Background())
					took <- time.Since(began)
				})
				resumes(t, p, c.Scope("tenant"))
				require.Zero(t, <-took)
				require.NoError(t, c.Close())
			})
		})
	}
}

// A slowFailure is a store whose Put fails after a while, and stores nothing.
type slowFailure struct{ *shelf }

func (s slowFailure) Put(context.Context, string, ...cache.Entry) error {
	time.Sleep(10 * time.Millisecond)
	return cache.ErrNotStored
}

func TestSessionEvictedWhileItIsWrittenLeavesOnce(t *testing.T) {
	for _, stores := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, mint := newFleet(), newMint(t)
			f.shelf.slow("put", 10*time.Millisecond)
			var store cache.Store = f.shelf
			if !stores {
				store = slowFailure{f.shelf}
			}
			left := map[string]int{}
			var mu sync.Mutex // guards left
			c := &ClientCache{Store: Seal(store, f.keys), TicketsPerServer: 1, RemoveSession: func(s *Session) {
				mu.Lock()
				defer mu.Unlock()
				left[s.Info().ID]++
			}}
			scope := c.Scope("tenant")
			scope.Put(serverName, mint.session())
			synctest.Wait() // the writer has it
			scope.Put(serverName, mint.session())
			time.Sleep(time.Second)
			require.NoError(t, ignoreIf(!stores, c.Close()))
			synctest.Wait()
			st := checkStats(t, c)
			require.Zero(t, st.Kept)
			if stores {
				require.EqualValues(t, 2, st.Stored)
				require.Empty(t, left)
			} else {
				require.Len(t, left, 2)
			}
			for id, n := range left {
				require.Equal(t, 1, n, id)
			}
		})
	}
}

func ignoreIf(expected bool, err error) error {
	if expected {
		return nil
	}
	return err
}

func TestWhatComesFromTheStoreAfterCloseGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		p.stock(t, a.Scope("tenant"), 2)
		require.NoError(t, a.Close())
		f.shelf.slow("take", time.Second)
		require.False(t, resumes(t, p, b.Scope("tenant")))
		require.NoError(t, b.Close())
		time.Sleep(time.Minute)
		require.Zero(t, b.Stats().Pooled)
		require.Equal(t, 3, f.shelf.size(), "those of a and the one that b received")
	})
}

// Sessions that are of no use to a handshake stay where others can have them.
func TestHandshakeDoesNotDrainTheStoreOfWhatItCannotUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		const stock = 8
		p.stock(t, a.Scope("tenant"), stock)
		flush(t, a)
		conn := receiver(b.Scope("tenant"))
		conn.view = conn.domain.view(p.client)
		key := conn.key()
		conn.Close()
		b.core().server(key).keepApart(time.Now())
		for range 3 {
			why, ok := b.core().take(new(lease), &search{key: key, view: conn.view, endpoint: "elsewhere:443", now: time.Now()}, true)
			require.False(t, ok)
			require.Equal(t, "endpoint", why)
		}
		require.Equal(t, stock-1, f.shelf.size())
	})
}

// A store may hand out what cannot be used, for ever.
type liar struct{ *shelf }

func (liar) Take(_ context.Context, _ string, max int) ([]cache.Entry, error) {
	return make([]cache.Entry, max), nil
}

func TestStoreThatLiesCostsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := &ClientCache{Store: Seal(liar{f.shelf}, f.keys)}
		began := time.Now()
		require.False(t, resumes(t, p, c.Scope("tenant")))
		require.Zero(t, time.Since(began))
		require.EqualValues(t, maxRounds, c.Stats().Unreadable)
		require.NoError(t, c.Close())
	})
}

func TestClearReachesATLS12SessionThatIsBeingPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t, tls12), newFleet()
		a, b := f.cache(t), f.cache(t)
		resumes(t, p, a.Scope("tenant"))
		require.NoError(t, a.Close())
		f.shelf.slow("put", 40*time.Millisecond)
		var dialing sync.WaitGroup
		dialing.Go(func() { p.dial(t, b.Scope("tenant")) })
		synctest.Wait()
		require.Zero(t, f.shelf.size(), "it is on its way back")
		require.NoError(t, b.Scope("tenant").Clear(t.Context()))
		dialing.Wait()
		time.Sleep(time.Second)
		require.NoError(t, b.Clear(t.Context())) // of what the dial received
		require.Zero(t, f.shelf.size())
	})
}

// A deaf store takes no notice of contexts.
type deaf struct {
	*shelf
	delay time.Duration
}

func (d deaf) Delete(ctx context.Context, key, id string) (bool, error) {
	time.Sleep(d.delay)
	return d.shelf.Delete(context.WithoutCancel(ctx), key, id)
}

// A dial with a session that the store has waits no longer than any other, and
// what the store gives back later is not lost.
func TestClaimFromADeafStoreHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := &ClientCache{Store: Seal(deaf{f.shelf, time.Minute}, f.keys)}
		conn := p.bound(t, c.Scope("tenant"), true)
		session := conn.Get1Session()
		defer session.Release()
		conn.Close()
		flush(t, c)
		began := time.Now()
		_, err := leaseOf(session)
		require.ErrorIs(t, err, ErrNotResumable)
		require.Equal(t, takeDeadline, time.Since(began))
		time.Sleep(2 * time.Minute)
		require.Equal(t, Resumable, session.Status())
		require.True(t, resumes(t, p, c.Scope("tenant")))
		require.Equal(t, tlstest.Counts{Connections: 2, Offered: 1}, p.seen.Counts())
		time.Sleep(time.Hour)
		require.NoError(t, c.Close())
	})
}

// A chaotic store loses requests and replies, does half of what it is asked,
// and takes its time.
type chaotic struct{ *shelf }

var errChaos = errors.New("chaos")

func nap() { time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) }

func (c chaotic) Put(_ context.Context, key string, entries ...cache.Entry) error {
	nap()
	defer nap()
	switch rand.IntN(8) {
	case 0:
		return fmt.Errorf("%w: %w", cache.ErrNotStored, errChaos)
	case 1:
		c.shelf.Put(context.Background(), key, entries[:rand.IntN(len(entries)+1)]...)
		nap()
		return errChaos
	}
	return c.shelf.Put(context.Background(), key, entries...)
}

func (c chaotic) Take(_ context.Context, key string, max int) ([]cache.Entry, error) {
	nap()
	defer nap()
	entries, err := c.shelf.Take(context.Background(), key, max)
	if rand.IntN(12) == 0 {
		return nil, errChaos
	}
	return entries, err
}

func (c chaotic) Delete(_ context.Context, key, id string) (bool, error) {
	nap()
	defer nap()
	if rand.IntN(12) == 0 {
		return false, errChaos
	}
	mine, err := c.shelf.Delete(context.Background(), key, id)
	if rand.IntN(12) == 0 {
		return false, errChaos
	}
	return mine, err
}

// Whatever the store does, and whoever claims, removes, forfeits, clears,
// flushes and rotates keys meanwhile: no ticket is offered twice, nothing is
// counted twice, and every reference is given back. In a bubble the naps cost
// no time.
func TestChaosOffersNoTicketTwice(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := &mayhem{
				t: t, mint: newMint(t), shelf: newShelf(), seen: map[string]bool{}, left: map[*session]int{},
				keys: tlstest.Must(ticket.NewKeyring([32]byte{1})),
			}
			w.run()
		})
	}
}

type mayhem struct {
	t     *testing.T
	mint  *mint
	shelf *shelf
	keys  *ticket.Keyring

	mu   sync.Mutex // guards the rest
	seen map[string]bool
	held []*Session
	left map[*session]int
}

func (w *mayhem) run() {
	var caches []*ClientCache
	for range 3 {
		caches = append(caches, w.cache())
	}
	var group sync.WaitGroup
	for n := range 8 {
		c := caches[n%len(caches)]
		group.Go(func() {
			for range 60 {
				w.step(c)
			}
		})
	}
	group.Wait()
	for _, c := range caches {
		c.Close()
	}
	time.Sleep(time.Hour) // whatever is under way
	synctest.Wait()       // which orders what follows behind it
	for _, c := range caches {
		require.Zero(w.t, checkStats(w.t, c).Kept)
	}
	require.NotEmpty(w.t, w.seen)
	for _, h := range w.held {
		h.Release()
		require.Zero(w.t, h.s.refs.Load(), h.String())
	}
	for s, n := range w.left {
		require.Equal(w.t, 1, n, s.info().ID)
	}
}

func (w *mayhem) cache() *ClientCache {
	return &ClientCache{
		Store: Seal(chaotic{w.shelf}, w.keys), TicketsPerServer: 5,
		NewSession: func(h *Session) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if rand.IntN(2) == 0 {
				w.held = append(w.held, h.Retain())
			}
		},
		RemoveSession: func(h *Session) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.left[h.s]++
		},
	}
}

func (w *mayhem) offer(ticket []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	require.False(w.t, w.seen[string(ticket)], "%s is offered a second time", ticket)
	w.seen[string(ticket)] = true
}

func (w *mayhem) someSession() *Session {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.held) == 0 {
		return nil
	}
	return w.held[rand.IntN(len(w.held))]
}

func (w *mayhem) step(c *ClientCache) {
	scope := c.Scope("tenant")
	switch op := rand.IntN(16); {
	case op < 5:
		scope.Put(serverName, w.mint.session())
	case op < 9:
		if cs, ok := scope.Get(serverName); ok {
			label, _, _ := cs.ResumptionState()
			w.offer(label)
		}
	case op < 13:
		if h := w.someSession(); h != nil {
			w.claim(h)
		}
	case op == 13:
		w.keys.Set([][][32]byte{{{1}, {2}}, {{2}, {1}}}[rand.IntN(2)]...)
	case rand.IntN(10) == 0:
		scope.Clear(context.Background())
	default:
		c.Flush(context.Background())
	}
}

// claim does with a session what its holders do.
func (w *mayhem) claim(h *Session) {
	switch rand.IntN(6) {
	case 0:
		if h.s.retain() {
			h.s.core().remove(h.s, removed)
			h.s.release()
		}
	case 1:
		if h.s.retain() {
			h.s.core().forfeit(h.s, failedAlert)
			h.s.release()
		}
	default:
		l, err := leaseOf(h)
		if err != nil {
			return
		}
		if rand.IntN(2) == 0 {
			w.offer(l.ticket())
			l.offered = true
		}
		h.s.core().settle(l, false)
	}
}
