package resume

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
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
