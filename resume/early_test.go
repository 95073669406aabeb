package resume

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// fromAhead stores so many sessions of a process whose clock is an hour ahead
// of all others.
func (f *fleet) fromAhead(t *testing.T, m *mint, n int) {
	t.Helper()
	c := f.nearby(t, n)
	scope := c.Scope("tenant")
	c.core().vault.near.begin(c.core().vault, scope.key(serverName), time.Now()) // the server is busy
	for range n {
		scope.Put(serverName, m.session())
	}
	c.core().pool.RemoveIf(func(_ serverKey, s *session) bool {
		s.received += int64(time.Hour)
		s.expires += int64(time.Hour)
		return false
	})
	require.NoError(t, c.Close())
}

// A process whose clock is behind cannot use what others receive, and must not
// keep it from them.
func TestClockThatIsBehindDoesNotDrainTheStore(t *testing.T) {
	for _, near := range []int{0, 8} {
		synctest.Test(t, func(t *testing.T) {
			f, mint := newFleet(), newMint(t)
			f.fromAhead(t, mint, 20)
			behind := f.nearby(t, near)
			for range 12 {
				_, ok := behind.Scope("tenant").Get(serverName)
				require.False(t, ok)
				synctest.Wait()
				require.Equal(t, 20, f.shelf.size())
			}
			require.Zero(t, checkStats(t, behind).Fetched)
			time.Sleep(time.Hour)
			var got []string
			for range 20 {
				cs, ok := behind.Scope("tenant").Get(serverName)
				require.True(t, ok)
				got = append(got, string(ticketOf(t, cs)))
				synctest.Wait()
			}
			if near == 0 {
				require.Equal(t, "ticket 20", got[0], "they are in their order")
				require.Equal(t, "ticket 1", got[19])
			}
			require.Empty(t, f.failures())
		})
	}
}

// One process whose clock is ahead must not hide what the others receive.
func TestSessionsFromAheadHideNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		a, b := f.cache(t), f.cache(t)
		a.Scope("tenant").Put(serverName, mint.session())
		require.NoError(t, a.Close())
		f.fromAhead(t, mint, 40)
		_, ok := b.Scope("tenant").Get(serverName)
		require.True(t, ok)
		require.Equal(t, 40, f.shelf.size())
	})
}

// What goes back to the store does not come back from a Clear.
func TestClearReachesASessionThatGoesBackToTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		f.fromAhead(t, mint, 3)
		store := &clearing{shelf: f.shelf}
		c := &ClientCache{Store: Seal(store, f.keys)}
		store.put = func() { require.NoError(t, c.Clear(t.Context())) }
		_, ok := c.Scope("tenant").Get(serverName)
		require.False(t, ok)
		synctest.Wait()
		require.Zero(t, f.shelf.size())
		require.NoError(t, c.Close())
	})
}

// clearing is a shelf with something that happens before its first Put.
type clearing struct {
	*shelf
	put func()
}

func (c *clearing) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	if f := c.put; f != nil {
		c.put = nil
		f()
	}
	return c.shelf.Put(ctx, key, entries...)
}

// A fetch that was late once has its key asked for again when it has ended.
func TestKeyOfALateFetchIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		a, b := f.cache(t), f.cache(t)
		for range 2 {
			a.Scope("tenant").Put(serverName, mint.session())
		}
		require.NoError(t, a.Close())
		f.shelf.slow("take", 2*takeDeadline)
		_, ok := b.Scope("tenant").Get(serverName)
		require.False(t, ok)
		time.Sleep(2 * takeDeadline)
		f.shelf.slow("take", 0)
		for range 2 { // what that brought, and the next
			_, ok := b.Scope("tenant").Get(serverName)
			require.True(t, ok)
		}
	})
}

// However many wait, no more is taken out of the store than the pool has room
// for: what it evicts would be lost to all.
func TestFetchTakesNoMoreThanThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stock, callers = 16, 24
		f, mint := newFleet(), newMint(t)
		a, b := f.cache(t), f.cache(t)
		for range stock {
			a.Scope("tenant").Put(serverName, mint.session())
		}
		require.NoError(t, a.Close())
		b.TicketsPerServer = 2
		f.shelf.slow("take", 5*time.Millisecond)
		var got atomic.Int32
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				if _, ok := b.Scope("tenant").Get(serverName); ok {
					got.Add(1)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		st := checkStats(t, b)
		require.Zero(t, st.Evicted)
		require.Equal(t, stock, int(got.Load())+f.shelf.size()+st.Pooled)
	})
}
