package resume

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A TLS 1.2 session that came from the store is used again and again, stays
// there for others, and is removed there, too.
func TestFetchedTLS12SessionIsReusedAndStaysUntilItIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, states := newFleet(), newPeer(t, tls12).states(t, 1)
		a, b := f.cache(t), f.cache(t)
		a.Scope("tenant").Put(serverName, states[0])
		require.NoError(t, a.Close())
		scope := b.Scope("tenant")
		for range 3 {
			_, ok := scope.Get(serverName)
			require.True(t, ok)
			require.Equal(t, 1, f.shelf.size())
		}
		require.Equal(t, 1, f.shelf.taken())
		require.EqualValues(t, 3, checkStats(t, b).Shared)
		require.True(t, b.Remove(scope.Get0Session(serverName)))
		synctest.Wait()
		require.Zero(t, f.shelf.size())
		_, ok := scope.Get(serverName)
		require.False(t, ok)
	})
}

// What a near tier fetched and did not need goes back in the order it had.
func TestFetchedSessionsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stock, near = 40, 16
		f, mint := newFleet(), newMint(t)
		a, b, c := f.cache(t), f.nearby(t, near), f.cache(t)
		for range stock {
			a.Scope("tenant").Put(serverName, mint.session())
		}
		require.NoError(t, a.Close())
		_, ok := b.Scope("tenant").Get(serverName)
		require.True(t, ok)
		synctest.Wait()
		require.Equal(t, stock-near, f.shelf.size())
		require.NoError(t, b.Close())
		require.Equal(t, stock-1, f.shelf.size())
		for n := stock - 1; n > 0; n-- {
			cs, ok := c.Scope("tenant").Get(serverName)
			require.True(t, ok)
			require.Equal(t, fmt.Sprint("ticket ", n), string(ticketOf(t, cs)))
		}
	})
}
