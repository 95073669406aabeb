package resume

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// storedSession is a cache with one session, which is in the store and held.
func (f *fleet) storedSession(t *testing.T) (*ClientCache, *Scope, *Session) {
	t.Helper()
	c := f.cache(t)
	scope := c.Scope("tenant")
	scope.Put(serverName, newMint(t).session())
	h := scope.Get1Session(serverName)
	t.Cleanup(h.Release)
	flush(t, c)
	require.Equal(t, 1, f.shelf.size())
	return c, scope, h
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
