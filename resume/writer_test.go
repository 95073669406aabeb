package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// A store hands out the last that was put, and drops the first at a bound: what
// stayed in memory and goes there later must not come in the opposite order.
func TestWhatIsWrittenLateKeepsItsOrder(t *testing.T) {
	const sessions, near = 2*maxBatch + 2, 3 * maxBatch
	for _, row := range []struct {
		why    string
		before func(f *fleet, c *ClientCache)
		write  func(t *testing.T, f *fleet, c *ClientCache)
	}{
		{"Flush of what a broken store did not take", func(f *fleet, _ *ClientCache) {
			f.shelf.fail(errors.New("down"))
		}, func(t *testing.T, f *fleet, c *ClientCache) {
			f.shelf.fail(nil)
			flush(t, c)
		}},
		{"Close of a cache with a near tier", func(_ *fleet, c *ClientCache) {
			c.NearTickets = near
		}, func(t *testing.T, _ *fleet, c *ClientCache) {
			require.NoError(t, c.Close())
		}},
		{"a near tier's server idles", func(_ *fleet, c *ClientCache) {
			c.NearTickets = near
		}, func(*testing.T, *fleet, *ClientCache) {
			time.Sleep(2 * nearIdle)
			synctest.Wait()
		}},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, mint := newFleet(), newMint(t)
				a, b := f.cache(t), f.cache(t)
				a.TicketsPerServer = near
				row.before(f, a)
				a.Scope("tenant").Get(serverName) // which makes the server a busy one
				var put, got []string
				for range sessions {
					cs := mint.session()
					put = append([]string{string(ticketOf(t, cs))}, put...)
					a.Scope("tenant").Put(serverName, cs)
				}
				synctest.Wait()
				require.Zero(t, f.shelf.size())
				row.write(t, f, a)
				require.Equal(t, sessions, f.shelf.size())
				for range sessions {
					cs, ok := b.Scope("tenant").Get(serverName)
					require.True(t, ok)
					got = append(got, string(ticketOf(t, cs)))
				}
				require.Equal(t, put, got, "the newest first")
			})
		})
	}
}

// Jobs that wait together are written together if they are of one server, and
// only then: a session under the key of another server would be lost.
func TestWhatWaitsIsWrittenUnderItsOwnServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		a, b := f.cache(t), f.cache(t)
		f.shelf.slow("put", 10*time.Millisecond)
		names := []string{"one.test", "two.test", "one.test", "two.test", "two.test"}
		for _, name := range names { // all but the first wait for that
			a.Scope("tenant").Put(name, mint.session())
		}
		flush(t, a)
		for _, name := range names {
			_, ok := b.Scope("tenant").Get(name)
			require.True(t, ok, name)
		}
		require.Empty(t, f.failures())
	})
}

// A store that keeps failing is spared what nobody waits for. Who calls Flush
// has set a limit of his own.
func TestSuspendedStoreIsWrittenToByFlushAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		c := f.cache(t)
		f.shelf.full = true
		for range 2 * breakAfter {
			c.Scope("tenant").Put(serverName, mint.session())
			synctest.Wait()
		}
		require.Equal(t, breakAfter, f.shelf.tried)
		require.Error(t, c.Flush(t.Context()))
		require.Equal(t, breakAfter+1, f.shelf.tried, "all in one")
		f.shelf.full = false
		flush(t, c)
		require.Equal(t, 2*breakAfter, f.shelf.size())
		require.Empty(t, c.core().vault.flushes, "nobody listens any more")
	})
}

// What cannot be sealed stays where it is, and Flush says so.
func TestWhatCannotBeSealedStaysInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		f.keys = new(ticket.Keyring)
		c := f.cache(t)
		scope := c.Scope("tenant")
		scope.Put(serverName, mint.session())
		synctest.Wait()
		require.Error(t, c.Flush(t.Context()))
		require.Zero(t, f.shelf.size())
		require.True(t, scope.Get0Session(serverName).Resumable())
		_, ok := scope.Get(serverName)
		require.True(t, ok)
		require.NoError(t, f.keys.Set([32]byte{1}))
		scope.Put(serverName, mint.session())
		flush(t, c)
		require.Equal(t, 1, f.shelf.size())
	})
}

// A TLS 1.2 session is used from memory when it has been stored, too.
func TestStoredTLS12SessionStaysInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, states := newFleet(), newPeer(t, tls12).states(t, 1)
		c := f.cache(t)
		scope := c.Scope("tenant")
		scope.Put(serverName, states[0])
		flush(t, c)
		require.Equal(t, 1, f.shelf.size())
		for range 3 {
			_, ok := scope.Get(serverName)
			require.True(t, ok)
		}
		require.Zero(t, f.shelf.taken())
	})
}

// Nobody knows whether the store has a TLS 1.2 session after an error of Put.
// To remove it must reach it there all the same.
func TestRemoveReachesATLS12SessionOfUnknownWhereabouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, states := newFleet(), newPeer(t, tls12).states(t, 1)
		f.shelf.late = errors.New("the reply was lost")
		c := f.cache(t)
		scope := c.Scope("tenant")
		scope.Put(serverName, states[0])
		synctest.Wait()
		require.Equal(t, 1, f.shelf.size())
		require.True(t, c.Remove(scope.Get0Session(serverName)))
		synctest.Wait()
		require.Zero(t, f.shelf.size())
	})
}

// A session that ends while it is being written does not stay in the store.
func TestSessionRemovedWhileItIsWrittenIsTakenOut(t *testing.T) {
	for _, change := range [][]func(server, client *tls.Config){nil, {tls12}} {
		synctest.Test(t, func(t *testing.T) {
			f, states := newFleet(), newPeer(t, change...).states(t, 1)
			f.shelf.slow("put", 10*time.Millisecond)
			c := f.cache(t)
			scope := c.Scope("tenant")
			scope.Put(serverName, states[0])
			synctest.Wait() // the writer has it
			require.True(t, c.Remove(scope.Get0Session(serverName)))
			time.Sleep(time.Second)
			require.Zero(t, f.shelf.size())
			require.Empty(t, f.failures())
			require.EqualValues(t, 1, checkStats(t, c).Removed)
		})
	}
}

// When one server idles, what is kept near of another stays.
func TestNearTierSpillsTheIdleServerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		c := f.nearby(t, 4)
		scope := c.Scope("tenant")
		for _, name := range []string{"idle.test", "busy.test"} {
			scope.Get(name)
			scope.Put(name, mint.session())
		}
		synctest.Wait()
		require.Zero(t, f.shelf.size())
		for range 4 {
			time.Sleep(nearIdle / 2)
			_, ok := scope.Get("busy.test")
			require.True(t, ok)
			scope.Put("busy.test", mint.session())
		}
		synctest.Wait()
		require.Equal(t, 1, f.shelf.size())
		require.Nil(t, scope.Get0Session("idle.test"))
		require.True(t, scope.Get0Session("busy.test").Resumable())
		time.Sleep(2 * nearIdle)
		synctest.Wait()
		require.Equal(t, 2, f.shelf.size(), "its turn has come")
	})
}

// Only what a handshake may want soon stays near: not what nobody has asked
// for, nor a TLS 1.2 session, which is in both places.
func TestNearTierKeepsWhatItIsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		c := f.nearby(t, 4)
		scope := c.Scope("tenant")
		scope.Put("unasked.test", mint.session())
		synctest.Wait()
		require.Equal(t, 1, f.shelf.size())
		scope.Get(serverName)
		scope.Put(serverName, newPeer(t, tls12).states(t, 1)[0])
		synctest.Wait()
		require.Equal(t, 2, f.shelf.size())
		require.True(t, scope.Get0Session(serverName).Resumable())
	})
}

// A listing that ends in an error has not shown everything: whoever clears a
// scope must hear of it.
func TestClearOfAScopeSaysThatTheListingFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, mint := newFleet(), newMint(t)
		store := &halfListed{listing: listing{f.shelf}, err: errors.New("unreadable")}
		c := &ClientCache{Store: Seal(store, f.keys)}
		c.Scope("tenant").Put(serverName, mint.session())
		flush(t, c)
		require.ErrorIs(t, c.Scope("tenant").Clear(t.Context()), store.err)
		store.err = nil
		require.NoError(t, c.Scope("tenant").Clear(t.Context()))
		require.Zero(t, f.shelf.size())
		require.NoError(t, c.Close())
	})
}

// halfListed is a listing that shows nothing but an error, while it has one.
type halfListed struct {
	listing
	err error
}

func (h *halfListed) List(ctx context.Context) iter.Seq2[cache.Listed, error] {
	if h.err == nil {
		return h.listing.List(ctx)
	}
	return func(yield func(cache.Listed, error) bool) { yield(cache.Listed{}, h.err) }
}
