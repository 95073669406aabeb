package resume

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// store has a cache store a session, which is held.
func (f *fleet) store(t *testing.T, c *ClientCache) *Session {
	t.Helper()
	f.shelf.slow("put", time.Millisecond) // or it may be there before it is held
	scope := c.Scope("tenant")
	scope.Put(serverName, newMint(t).session())
	h := scope.Get1Session(serverName)
	require.NotNil(t, h)
	t.Cleanup(h.Release)
	flush(t, c)
	require.Equal(t, 1, f.shelf.size())
	f.shelf.slow("put", 0)
	return h
}

// storedSession is a cache with one session, which is in the store and held.
func (f *fleet) storedSession(t *testing.T) (*ClientCache, *Scope, *Session) {
	t.Helper()
	c := f.cache(t)
	return c, c.Scope("tenant"), f.store(t, c)
}

// A session that was removed stays so, also if the store did not hear of it
// just then.
func TestRemovedSessionDoesNotComeBackFromAStoreThatWasDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		c, scope, h := f.storedSession(t)
		f.shelf.fail(errors.New("down"))
		require.True(t, c.Remove(h))
		synctest.Wait()
		require.Equal(t, []string{"delete"}, f.failures())
		f.shelf.fail(nil)
		time.Sleep(time.Hour)
		_, ok := scope.Get(serverName)
		require.False(t, ok)
		require.Equal(t, Removed, h.Status())
	})
}

// The same for one that ends while it is being written.
func TestSessionThatEndsWhileItIsWrittenDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.shelf.slow("put", 10*time.Millisecond)
		c := f.cache(t)
		scope := c.Scope("tenant")
		scope.Put(serverName, newMint(t).session())
		synctest.Wait() // the writer has it
		f.shelf.slow("delete", time.Minute)
		require.True(t, c.Remove(scope.Get0Session(serverName)))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"delete"}, f.failures())
		require.Equal(t, 1, f.shelf.size())
		_, ok := scope.Get(serverName)
		require.False(t, ok)
		require.Zero(t, f.shelf.size())
		require.Empty(t, c.core().vault.doomed)
		checkStats(t, c)
	})
}

// What is known of a removed session is forgotten when it cannot come back.
func TestRemovedSessionsLeaveNothingBehind(t *testing.T) {
	for _, row := range []struct {
		why   string
		store func(f *fleet) // before the session is removed
		until time.Duration
	}{
		{"the store had it", func(*fleet) {}, 0},
		{"somebody has taken it", func(f *fleet) { clear(f.shelf.stacks) }, 3 * writeDeadline},
		{"the store is down", func(f *fleet) { f.shelf.fail(errors.New("down")) }, maxTicketAge + time.Hour},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				c, _, h := f.storedSession(t)
				row.store(f)
				require.True(t, c.Remove(h))
				time.Sleep(row.until)
				synctest.Wait()
				v := c.core().vault
				v.mu.Lock()
				defer v.mu.Unlock()
				require.Empty(t, v.doomed)
			})
		})
	}
}

// Who removes a session of a cache that is closed has it removed from the store
// all the same.
func TestRemoveReachesTheStoreAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		c, _, h := f.storedSession(t)
		require.NoError(t, c.Close())
		require.True(t, c.Remove(h))
		synctest.Wait()
		require.Zero(t, f.shelf.size())
	})
}

// An alert that comes while somebody claims a session from the store counts as
// soon as the store has not given it.
func TestAlertDuringAClaimThatFailsForfeitsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		c, _, h := f.storedSession(t)
		f.shelf.slow("delete", 10*time.Millisecond)
		f.shelf.fail(errors.New("down"))
		claimed := make(chan error)
		go func() {
			_, err := leaseOf(h)
			claimed <- err
		}()
		time.Sleep(5 * time.Millisecond)
		c.core().forfeit(h.s, failedAlert)
		require.ErrorIs(t, <-claimed, ErrNotResumable)
		require.Equal(t, Failed, h.Status())
		require.Equal(t, "alert", h.Reason())
		checkStats(t, c)
	})
}

// A store that is suspended is not waited for by claims either.
func TestClaimDoesNotWaitForASuspendedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		c, scope, h := f.storedSession(t)
		f.shelf.slow("take", time.Minute)
		f.shelf.slow("delete", time.Minute)
		for i := range breakAfter {
			_, ok := scope.Get(fmt.Sprint(i))
			require.False(t, ok)
		}
		synctest.Wait()
		began := time.Now()
		_, err := leaseOf(h)
		require.ErrorIs(t, err, ErrNotResumable)
		require.Zero(t, time.Since(began))
		require.Equal(t, Resumable, h.Status())
		f.shelf.slow("take", 0)
		f.shelf.slow("delete", 0)
		time.Sleep(time.Minute)
		l, err := leaseOf(h)
		require.NoError(t, err)
		c.core().giveBack(l)
	})
}

// Who finds that somebody else has had the session he holds tells of its end.
func TestEndThatAClaimFindsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		var told []string
		c := f.cache(t)
		c.RemoveSession = func(s *Session) { told = append(told, s.Reason()) }
		h := f.store(t, c)
		_, ok := f.cache(t).Scope("tenant").Get(serverName)
		require.True(t, ok)
		require.Equal(t, Resumable, h.Status(), "as far as anybody here knows")
		for range 2 {
			_, err := leaseOf(h)
			require.ErrorIs(t, err, ErrNotResumable)
		}
		synctest.Wait()
		require.Equal(t, []string{"used"}, told)
		checkStats(t, c)
	})
}
