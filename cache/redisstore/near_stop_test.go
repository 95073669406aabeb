//go:build unix

package redisstore_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// A Redis that is gone, or hangs, costs three handshakes the deadline at most;
// then none asks it, until it is back. That the deadline is kept to the
// millisecond is proven in package resume, with a clock that stands still;
// here no handshake waits for the client's timeout, which is far longer.
func TestStoppedRedisIsLeftAloneUntilItIsBack(t *testing.T) {
	for _, row := range []struct {
		why      string
		down, up func(s *server) error
	}{
		{
			"hung",
			func(s *server) error { return s.cmd.Process.Signal(syscall.SIGSTOP) },
			func(s *server) error { return s.cmd.Process.Signal(syscall.SIGCONT) },
		},
		{"killed", func(s *server) error { s.kill(); return nil }, (*server).run},
	} {
		t.Run(row.why, func(t *testing.T) {
			f := newFleet(t)
			const timeout = 3 * time.Second
			client := redis.NewClient(&redis.Options{
				Addr: f.primary.addr, ReadTimeout: timeout, MaxRetries: -1, DialerRetries: 1,
			})
			defer client.Close()
			c, calls := f.nearby(t, 8, client)
			var suspended, recovered atomic.Int64
			c.Observe = func(e resume.Event) {
				switch e.Kind {
				case resume.StoreSuspended:
					suspended.Add(1)
				case resume.StoreRecovered:
					recovered.Add(1)
				}
			}
			scopes := 0
			ask := func() { // a scope of its own: no fetch of it is late
				scopes++
				_, ok := c.Scope(fmt.Sprint("tenant", scopes)).Get(host)
				require.False(t, ok)
			}

			require.NoError(t, row.down(f.primary))
			began := time.Now()
			for range 3 {
				ask()
			}
			require.Less(t, time.Since(began), timeout, "three handshakes against one timeout")
			await(t, "the breaker", func() bool { return suspended.Load() == 1 })
			await(t, "three errors", func() bool { return c.Stats().StoreErrors >= 3 })

			const many = 50
			asked, before := calls.commands.Load(), c.Stats().Suspended
			for range many {
				ask()
			}
			asked = calls.commands.Load() - asked
			require.LessOrEqual(t, asked, int64(1), "at most one on trial")
			require.GreaterOrEqual(t, c.Stats().Suspended-before, uint64(many-1))

			require.NoError(t, row.up(f.primary))
			await(t, "its recovery", func() bool { ask(); return recovered.Load() == 1 })
			require.NoError(t, c.Close())
		})
	}
}
