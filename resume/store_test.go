package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

// A shelf is a store in memory that can be slow and can fail. What stores
// really do is proved with dirstore; here it is what the layer makes of it.
type shelf struct {
	mu     sync.Mutex // guards the rest
	stacks map[string][]cache.Entry
	takes  int
	err    error                    // of every call, which then does nothing
	late   error                    // of Put, which has done it all the same
	full   bool                     // Put does nothing
	tried  int                      // calls of Put
	delay  map[string]time.Duration // of a verb
}

func newShelf() *shelf {
	return &shelf{stacks: map[string][]cache.Entry{}, delay: map[string]time.Duration{}}
}

// after is time.After, but starts no timer that is due at once. In a bubble, Go
// 1.26 runs such a timer at once, in the goroutine that starts it, and under
// the race detector all timers of a bubble use one thread context without a
// lock: two at a time corrupt it, and the detector dies ("ThreadSanitizer: CHECK
// failed") or takes accesses as ordered that are not (go.dev/issue/78156).
func after(d time.Duration) <-chan time.Time {
	if d > 0 {
		return time.After(d)
	}
	due := make(chan time.Time, 1)
	due <- time.Now()
	return due
}

func (s *shelf) enter(ctx context.Context, verb string) error {
	s.mu.Lock()
	delay, err := s.delay[verb], s.err
	s.mu.Unlock()
	select {
	case <-after(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	return err
}

func (s *shelf) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	if err := s.enter(ctx, "put"); err != nil {
		return fmt.Errorf("%w: %w", cache.ErrNotStored, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried++; s.full {
		return fmt.Errorf("%w: full", cache.ErrNotStored)
	}
	s.stacks[key] = append(s.stacks[key], entries...)
	return s.late
}

func (s *shelf) Take(ctx context.Context, key string, max int) (taken []cache.Entry, err error) {
	if err := s.enter(ctx, "take"); err != nil {
		return nil, err
	}
	defer s.enter(ctx, "reply")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes++
	stack := s.stacks[key]
	n := min(max, len(stack))
	if n == 0 {
		return nil, cache.ErrMiss
	}
	s.stacks[key] = stack[:len(stack)-n]
	for _, e := range slices.Backward(stack[len(stack)-n:]) {
		taken = append(taken, e)
	}
	return taken, nil
}

func (s *shelf) Delete(ctx context.Context, key, id string) (bool, error) {
	if err := s.enter(ctx, "delete"); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.stacks[key])
	s.stacks[key] = slices.DeleteFunc(s.stacks[key], func(e cache.Entry) bool { return e.ID == id })
	return len(s.stacks[key]) < n, nil
}

func (s *shelf) Clear(ctx context.Context) error {
	if err := s.enter(ctx, "clear"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.stacks)
	return nil
}

func (s *shelf) size() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stack := range s.stacks {
		n += len(stack)
	}
	return n
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) slow(verb string, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay[verb] = delay
}

// A fleet is caches that share a store, as processes do.
type fleet struct {
	shelf  *shelf
	keys   *ticket.Keyring
	events []Event
	mu     sync.Mutex // guards events
}

func newFleet() *fleet {
	return &fleet{shelf: newShelf(), keys: tlstest.Must(ticket.NewKeyring([32]byte{1}))}
}

// cache is one more process. It ends with the test.
func (f *fleet) cache(t testing.TB) *ClientCache {
	c := &ClientCache{Store: Seal(f.shelf, f.keys), Observe: func(e Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
	}}
	t.Cleanup(func() { c.Close() })
	return c
}

// failures are the reasons of StoreFailed so far.
func (f *fleet) failures() (reasons []string) {
	synctest.Wait() // they are told in the background
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == StoreFailed {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

func flush(t testing.TB, c *ClientCache) {
	t.Helper()
	require.NoError(t, c.Flush(t.Context()))
}

func resumes(t testing.TB, p *peer, scope *Scope) bool {
	t.Helper()
	resumed, err := p.dial(t, scope)
	require.NoError(t, err)
	return resumed
}

func TestSessionMovesToTheStoreAndIsTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		require.False(t, resumes(t, p, a.Scope("tenant")))
		flush(t, a)
		require.Equal(t, 1, f.shelf.size())
		st := checkStats(t, a)
		require.EqualValues(t, 1, st.Stored)
		require.Zero(t, st.Pooled, "it is in one place")

		require.True(t, resumes(t, p, b.Scope("tenant")), "the first connection of another process")
		require.EqualValues(t, 1, checkStats(t, b).Fetched)
		flush(t, b)
		require.True(t, resumes(t, p, a.Scope("tenant")))
		flush(t, a)
		require.Equal(t, 1, f.shelf.size())
		require.Equal(t, tlstest.Counts{Connections: 3, Offered: 2}, p.seen.Counts())
		require.Empty(t, f.failures())
	})
}

func TestOnlyNamedScopesAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		for _, config := range []*tls.Config{p.plugged(c), c.TLSConfig(p.client)} {
			p.plain(t, config)
		}
		p.bound(t, c.NewScope(), true)
		flush(t, c)
		require.Zero(t, f.shelf.size())
		p.plain(t, p.plugged(c.Scope("tenant")))
		p.plain(t, c.Scope("tenant").TLSConfig(p.client))
		p.bound(t, c.Scope("tenant"), true)
		flush(t, c)
		require.Equal(t, 2, f.shelf.size(), "the last was resumed with the one before")
		require.Len(t, f.shelf.stacks, 2, "what nothing is known of is apart")
		require.True(t, p.plain(t, p.plugged(f.cache(t).Scope("tenant"))).DidResume)
	})
}

// Scopes of one name are one; whatever else differs keeps sessions apart in
// the store as it does in memory.
func TestStoredSessionsStayInTheirScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		resumes(t, p, a.Scope("tenant"))
		flush(t, a)
		require.False(t, resumes(t, p, b.Scope("other")))
		other := *p
		other.client = p.client.Clone()
		other.client.MinVersion = tls.VersionTLS13
		require.False(t, resumes(t, &other, b.Scope("tenant")))
		another := newFleet()
		another.shelf = f.shelf
		another.keys = tlstest.Must(ticket.NewKeyring([32]byte{2}))
		require.False(t, resumes(t, p, another.cache(t).Scope("tenant")))
		require.True(t, resumes(t, p, b.Scope("tenant")))
	})
}

func TestManyProcessesUseEachStoredTicketOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		const processes, parallel, rounds = 4, 8, 6
		var caches []*ClientCache
		for range processes {
			caches = append(caches, f.cache(t))
		}
		for range rounds {
			var all sync.WaitGroup
			for _, c := range caches {
				for range parallel {
					all.Go(func() {
						if _, err := p.dial(t, c.Scope("tenant")); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
		}
		counts := p.seen.Counts()
		require.Zero(t, counts.Reused)
		require.Greater(t, counts.Offered, counts.Connections/2)
		for _, c := range caches {
			flush(t, c)
			checkStats(t, c)
		}
		require.Equal(t, counts.Connections-counts.Offered, f.shelf.size(), "no ticket was lost")
	})
}

// Callers of one key who find nothing in memory share one Take.
func TestWaitingCallersShareOneTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		const crowd = 16
		p.stock(t, a.Scope("tenant"), crowd)
		flush(t, a)
		require.Equal(t, crowd, f.shelf.size())
		f.shelf.slow("take", 10*time.Millisecond)
		f.shelf.takes = 0
		var all sync.WaitGroup
		var resumed atomic.Int64
		for range crowd {
			all.Go(func() {
				if ok, _ := p.dial(t, b.Scope("tenant")); ok {
					resumed.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, crowd, resumed.Load())
		require.LessOrEqual(t, f.shelf.takes, 2, "who comes while one is under way takes part in the next")
		require.Zero(t, p.seen.Counts().Reused)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func TestSlowStoreCostsAMissAndItsLateAnswerIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		p.stock(t, a.Scope("tenant"), 2)
		require.NoError(t, a.Close())
		f.shelf.slow("take", time.Second)
		began := time.Now()
		conn := b.Scope("tenant").NewConn(p.serve(), p.client)
		require.NoError(t, conn.Handshake())
		require.Equal(t, takeDeadline, time.Since(began))
		require.False(t, conn.ConnectionState().DidResume)
		conn.Close()
		require.Equal(t, []string{"slow"}, f.failures())
		time.Sleep(time.Second)
		require.EqualValues(t, 1, b.Stats().Fetched, "it came late, and is not lost")
		began = time.Now()
		require.True(t, resumes(t, p, b.Scope("tenant")))
		require.Zero(t, time.Since(began))
		f.shelf.slow("take", 0)
		require.NoError(t, b.Close())
		require.Zero(t, p.seen.Counts().Reused)
	})
}

func TestFailingStoreFailsNoHandshakeAndLosesNoTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		scope := c.Scope("tenant")
		down := errors.New("down")
		f.shelf.fail(down)
		require.False(t, resumes(t, p, scope))
		require.ErrorIs(t, c.Flush(t.Context()), down)
		for range 3 {
			require.True(t, resumes(t, p, scope), "from memory")
			require.ErrorIs(t, c.Flush(t.Context()), down)
		}
		require.Positive(t, checkStats(t, c).StoreErrors)
		require.Subset(t, f.failures(), []string{"take", "put"})
		require.ErrorIs(t, scope.Clear(t.Context()), down)
		require.False(t, resumes(t, p, scope), "in memory it is cleared")
		f.shelf.fail(nil)
		flush(t, c)
		require.Equal(t, 1, f.shelf.size())
		require.True(t, resumes(t, p, f.cache(t).Scope("tenant")))
		require.Zero(t, p.seen.Counts().Reused)
	})
}

// After an error of Put nobody knows whether the store has a session, or
// somebody else by now. It is used if the store gives it back, and never else.
func TestSessionOfUnknownWhereaboutsIsNotUsedTwice(t *testing.T) {
	for _, row := range []struct {
		why   string
		taken bool
	}{{"it is there", false}, {"another process has it", true}} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, f := newPeer(t), newFleet()
				a, b := f.cache(t), f.cache(t)
				f.shelf.late = errors.New("the reply was lost")
				f.shelf.slow("delete", 10*time.Millisecond)
				conn := a.Scope("tenant").NewConn(p.serve(), p.client)
				require.NoError(t, conn.Handshake())
				exchange(t, conn)
				session := conn.Get1Session()
				defer session.Release()
				conn.Close()
				synctest.Wait() // a asks for it back
				if row.taken {
					require.True(t, resumes(t, p, b.Scope("tenant")))
					b.Flush(t.Context()) // gets back what that brought
				}
				a.Flush(t.Context()) // waits for the writer; what it says is another matter
				if row.taken {
					require.Equal(t, Failed, session.Status())
					require.Equal(t, "store", session.Reason())
					require.Zero(t, a.Stats().Pooled)
					require.False(t, resumes(t, p, a.Scope("tenant")))
				} else {
					require.Equal(t, Resumable, session.Status())
					require.True(t, resumes(t, p, a.Scope("tenant")))
				}
				require.Equal(t, tlstest.Counts{Connections: p.seen.Counts().Connections, Offered: 1}, p.seen.Counts())
				checkStats(t, a)
			})
		})
	}
}

func TestUnreadableRecordsAreCountedAndPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		p.stock(t, a.Scope("tenant"), 3)
		flush(t, a)
		for _, stack := range f.shelf.stacks {
			stack[2].Value[40] ^= 1
			stack[1].Expires = stack[1].Expires.Add(time.Hour) // not what was sealed
		}
		require.True(t, resumes(t, p, b.Scope("tenant")))
		require.EqualValues(t, 2, checkStats(t, b).Unreadable)
		require.Equal(t, []string{"unreadable", "unreadable"}, f.failures())
	})
}

// Who holds a session that is in the store, and whoever takes it there: one
// has it.
func TestHoldersAndTheStoreAgreeOnWhoMayClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		scope := a.Scope("tenant")
		held := func() *Session {
			conn := p.bound(t, scope, true)
			h := conn.Get1Session()
			t.Cleanup(h.Release)
			conn.Close()
			flush(t, a)
			require.Equal(t, Resumable, h.Status())
			return h
		}
		first := held()
		require.True(t, resumes(t, p, b.Scope("tenant")))
		flush(t, b)
		_, err := leaseOf(first)
		require.ErrorIs(t, err, ErrNotResumable)
		require.Equal(t, Used, first.Status())

		require.NoError(t, a.Clear(t.Context()))
		second := held()
		l, err := leaseOf(second)
		require.NoError(t, err)
		require.Zero(t, f.shelf.size())
		require.False(t, resumes(t, p, b.Scope("tenant")))
		_, err = leaseOf(second)
		require.ErrorIs(t, err, ErrNotResumable, "one of those who hold it")
		a.core().settle(l, false) // not offered: given back
		require.True(t, second.Resumable())
		require.True(t, resumes(t, p, scope))

		flush(t, a)
		require.NoError(t, a.Clear(t.Context()))
		third := held()
		f.shelf.fail(errors.New("down"))
		_, err = leaseOf(third)
		require.ErrorIs(t, err, ErrNotResumable, "nobody says whose it is")
		f.shelf.fail(nil)
		l, err = leaseOf(third)
		require.NoError(t, err)
		l.offered = true
		a.core().settle(l, false)
		require.Zero(t, p.seen.Counts().Reused)
		checkStats(t, a)
	})
}

// A Dialer.Session may be named while it is on its way to the store.
func TestSessionIsClaimedWhileItIsBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		f.shelf.slow("put", 10*time.Millisecond)
		conn := c.Scope("tenant").NewConn(p.serve(), p.client)
		require.NoError(t, conn.Handshake())
		exchange(t, conn)
		held := conn.Get1Session()
		conn.Close()
		synctest.Wait() // the writer has it
		require.Equal(t, stowing, held.s.verdict.Load())
		require.True(t, held.Resumable())
		l, err := leaseOf(held)
		require.NoError(t, err)
		l.offered = true
		c.core().settle(l, false)
		require.Zero(t, f.shelf.size())
		held.Release()

		// And a dial waits for what is being written rather than miss it.
		require.False(t, resumes(t, p, c.Scope("tenant")))
		synctest.Wait()
		require.True(t, resumes(t, p, c.Scope("tenant")))
		require.NoError(t, c.Close())
	})
}

func TestWhatEndsASessionEndsItInTheStore(t *testing.T) {
	for _, row := range []struct {
		why string
		end func(t *testing.T, c *ClientCache, conn *Conn)
	}{
		{"Remove", func(t *testing.T, c *ClientCache, conn *Conn) { require.True(t, c.Remove(conn.Get0Session())) }},
		{"an alert on its connection", func(_ *testing.T, _ *ClientCache, conn *Conn) { conn.forfeit(failedAlert) }},
		{"Scope.Clear", func(t *testing.T, c *ClientCache, _ *Conn) { require.NoError(t, c.Scope("tenant").Clear(t.Context())) }},
		{"ClientCache.Clear", func(t *testing.T, c *ClientCache, _ *Conn) { require.NoError(t, c.Clear(t.Context())) }},
	} {
		for _, when := range []string{"stored", "being written"} {
			t.Run(row.why+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, f := newPeer(t), newFleet()
					c := f.cache(t)
					f.shelf.slow("put", time.Millisecond)
					conn := c.Scope("tenant").NewConn(p.serve(), p.client)
					require.NoError(t, conn.Handshake())
					exchange(t, conn)
					if synctest.Wait(); when == "stored" {
						flush(t, c)
						require.Equal(t, 1, f.shelf.size())
					}
					row.end(t, c, conn)
					flush(t, c)
					require.Zero(t, f.shelf.size())
					conn.Close()
					require.False(t, resumes(t, p, c.Scope("tenant")))
					checkStats(t, c)
					require.NoError(t, c.Close())
				})
			})
		}
	}
}

// A session that has ended but is not deleted yet comes to nobody in this
// process, whether the store is asked before the end or after it (rule N28).
func TestEndedSessionIsNotFetchedBeforeItIsDeleted(t *testing.T) {
	for _, row := range []struct {
		why                 string
		take, reply, delete time.Duration
		end                 time.Duration // after the store was asked
	}{
		{"before it is asked", 0, 0, time.Second, 0},
		{"while it looks", 4 * time.Millisecond, 0, time.Second, 2 * time.Millisecond},
		{"while it replies", 0, 4 * time.Millisecond, time.Second, 2 * time.Millisecond},
		{"and is deleted while it replies", 0, 4 * time.Millisecond, 0, 2 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, f := newPeer(t), newFleet()
			c := f.cache(t)
			scope := c.Scope("tenant")
			conn := scope.NewConn(p.serve(), p.client)
			require.NoError(t, conn.Handshake())
			exchange(t, conn)
			flush(t, c)
			require.Equal(t, 1, f.shelf.size())
			f.shelf.slow("take", row.take)
			f.shelf.slow("reply", row.reply)
			f.shelf.slow("delete", row.delete)
			if row.end == 0 {
				conn.forfeit(failedAlert)
			} else {
				time.AfterFunc(row.end, func() { conn.forfeit(failedAlert) })
			}
			require.False(t, resumes(t, p, scope), row.why)
			conn.Close()
			require.Zero(t, p.seen.Counts().Offered)
			require.NoError(t, c.Close())
			checkStats(t, c)
		})
	}
}

// A listing is a shelf that says what it holds.
type listing struct{ *shelf }

func (l listing) List(context.Context) iter.Seq2[cache.Listed, error] {
	return func(yield func(cache.Listed, error) bool) {
		l.mu.Lock()
		var all []cache.Listed
		for key, stack := range l.stacks {
			for _, e := range stack {
				all = append(all, cache.Listed{Key: key, ID: e.ID})
			}
		}
		l.mu.Unlock()
		for _, listed := range all {
			if !yield(listed, nil) {
				return
			}
		}
	}
}

func TestClearOfAScopeSparesOthersIfTheStoreCanTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		for _, can := range []bool{true, false} {
			c := &ClientCache{Store: Seal(f.shelf, f.keys)}
			if can {
				c.Store = Seal(listing{f.shelf}, f.keys)
			}
			for _, name := range []string{"one", "other"} {
				p.bound(t, c.Scope(name), true)
			}
			flush(t, c)
			require.NoError(t, c.Scope("one").Clear(t.Context()))
			require.False(t, resumes(t, p, c.Scope("one")))
			require.Equal(t, can, resumes(t, p, c.Scope("other")))
			require.NoError(t, c.Clear(t.Context()))
			require.NoError(t, c.Close())
		}
	})
}

func TestTLS12SessionsAreTakenAndPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t, tls12, func(server, _ *tls.Config) { server.SessionTicketsDisabled = false }), newFleet()
		a, b := f.cache(t), f.cache(t)
		require.False(t, resumes(t, p, a.Scope("tenant")))
		flush(t, a)
		for range 3 {
			require.True(t, resumes(t, p, b.Scope("tenant")))
			require.True(t, resumes(t, p, a.Scope("tenant")))
		}
		require.True(t, resumes(t, p, f.cache(t).Scope("tenant")))
		require.Empty(t, f.failures())
		checkStats(t, a)
		checkStats(t, b)
	})
}

func TestStoredSessionKeepsItsLimits(t *testing.T) {
	for _, row := range []struct {
		why                  string
		first, second, chain time.Duration // bounds of who received it, and of who uses it
		good                 time.Duration
	}{
		{"max-age of who received it", time.Hour, 0, 0, time.Hour},
		{"max-age of who uses it", 0, time.Hour, 0, time.Hour},
		{"chain-age", 0, 0, 2 * time.Hour, 2 * time.Hour},
		{"the certificate", 0, 0, 0, 24 * time.Hour},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(row.why, " late ", late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, f := newPeer(t), newFleet()
					a := &ClientCache{Store: Seal(f.shelf, f.keys), MaxAge: row.first}
					b := &ClientCache{Store: Seal(f.shelf, f.keys), MaxAge: row.second, MaxChainAge: row.chain}
					resumes(t, p, a.Scope("tenant"))
					require.NoError(t, a.Close())
					age := row.good - 2*time.Second
					if late {
						age += 3 * time.Second
					}
					time.Sleep(age)
					conn := b.Scope("tenant").NewConn(p.serve(), p.client)
					if err := conn.Handshake(); err == nil { // not if the certificate has ended
						require.Equal(t, !late, conn.ConnectionState().DidResume)
					}
					conn.Close()
					require.Equal(t, !late, p.seen.Counts().Offered == 1)
					require.NoError(t, b.Close())
				})
			})
		}
	}
}

// What an endpoint refused is dead wherever it turns up.
func TestSiblingsInTheStoreOfARefusedTicketAreNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		p.stock(t, c.Scope("tenant"), 4)
		flush(t, c)
		time.Sleep(time.Millisecond)                                                          // records count in these
		p.server = tlstest.Counting(&tls.Config{Certificates: p.server.Certificates}, p.seen) // new ticket keys
		require.False(t, resumes(t, p, c.Scope("tenant")))
		require.Equal(t, 1, p.seen.Counts().Offered)
		flush(t, c)
		require.True(t, resumes(t, p, c.Scope("tenant")), "what came with the refusal")
		for range 3 { // connections that bring nothing, until only dead ones are left
			conn := p.bound(t, c.Scope("tenant"), false)
			conn.NetConn().Close()
			conn.Close()
		}
		require.Equal(t, 3, p.seen.Counts().Offered, "what the last one brought, and then no dead one")
		require.GreaterOrEqual(t, checkStats(t, c).Fetched, uint64(5), "though they were at hand")
	})
}

func TestKeysAreRotatedWhileInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		old, young := [32]byte{1}, [32]byte{2}
		a := f.cache(t)
		require.False(t, resumes(t, p, a.Scope("tenant")))
		flush(t, a)
		require.NoError(t, f.keys.Set(young, old))
		b := f.cache(t)
		require.True(t, resumes(t, p, b.Scope("tenant")), "filed under the older key")
		flush(t, b)
		require.NoError(t, f.keys.Set(young))
		c := f.cache(t)
		require.True(t, resumes(t, p, c.Scope("tenant")), "what came since is filed under the younger")
		flush(t, c)
		require.NoError(t, f.keys.Set(old))
		require.False(t, resumes(t, p, f.cache(t).Scope("tenant")))
	})
}

func TestCloseFlushesAndEndsTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine stays
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		p.stock(t, c.Scope("tenant"), 3)
		p.stock(t, c.NewScope(), 1)
		unstored := c.core().plain
		c.Put(serverName, p.states(t, 1)[0])
		held := unstored.Get1Session(serverName)
		require.NoError(t, c.Close())
		require.Equal(t, 3, f.shelf.size())
		require.Equal(t, Removed, held.Status())
		require.Equal(t, "closed", held.Reason())
		held.Release()
		require.NoError(t, c.Close(), "a second time")
		for range 2 {
			require.False(t, resumes(t, p, c.Scope("tenant")), "connections go on")
		}
		_, ok := c.Get(serverName)
		require.False(t, ok)
		require.NoError(t, c.Flush(t.Context()))
		require.Equal(t, 3, f.shelf.size())
		require.Zero(t, c.Stats().Pooled)
		require.NoError(t, c.Clear(t.Context()), "of the store, still")
		require.Zero(t, f.shelf.size())
		checkStats(t, c)
	})
}

func TestCloseGivesUpOnAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		f.shelf.slow("put", time.Hour)
		resumes(t, p, c.Scope("tenant"))
		began := time.Now()
		require.Error(t, c.Close())
		require.LessOrEqual(t, time.Since(began), closeDeadline)
		time.Sleep(2 * writeDeadline) // until the writer gives up, too
	})
}

func TestFullQueueLeavesSessionsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		f.shelf.slow("put", time.Second)
		mint, scope := newMint(t), c.Scope("tenant")
		for range 3 {
			for range maxQueued { // one key's bound is in the way: take many
				scope.Put(fmt.Sprint("server", mint.made, ".test"), mint.session())
			}
		}
		require.Contains(t, f.failures(), "queue")
		require.Positive(t, c.Stats().Pooled)
		checkStats(t, c)
		f.shelf.slow("put", 0)
		_ = p
		flush(t, c)
		require.Zero(t, c.Stats().Pooled)
		require.NoError(t, c.Close())
	})
}

// A store that hangs does not make the queue longer with each Flush that gives
// up on it.
func TestFlushQueuesNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		c := f.cache(t)
		f.shelf.slow("put", time.Hour) // longer than the writer waits
		const sessions = 20
		for n := range sessions {
			c.Scope("tenant").Put(fmt.Sprint("server", n, ".test"), mint.session())
		}
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			require.ErrorIs(t, c.Flush(ctx), context.DeadlineExceeded)
			cancel()
		}
		queued := 0
		c.core().vault.mu.Lock()
		for _, j := range c.core().vault.queue {
			if j.put != nil {
				queued++
			}
		}
		c.core().vault.mu.Unlock()
		require.LessOrEqual(t, queued, sessions)
		require.Positive(t, queued)
		f.shelf.slow("put", 0)
		time.Sleep(time.Duration(sessions) * writeDeadline)
		flush(t, c)
		require.Equal(t, sessions, f.shelf.size())
		require.NoError(t, c.Close())
	})
}

func TestSealRefusesNil(t *testing.T) {
	keys := tlstest.Must(ticket.NewKeyring([32]byte{1}))
	require.Panics(t, func() { Seal(nil, keys) })
	require.Panics(t, func() { Seal(newShelf(), nil) })
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		require.Equal(t, "SealedStore(*resume.shelf)", fmt.Sprintf(verb, Seal(newShelf(), keys)))
	}
}
