package resume

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// slowAnswer is a store whose Take has removed what it will answer with.
type slowAnswer struct {
	*shelf
	takes time.Duration
}

func (s slowAnswer) Take(ctx context.Context, key string, n int) ([]cache.Entry, error) {
	defer time.Sleep(s.takes)
	return s.shelf.Take(ctx, key, n)
}

// What a fetch has removed from the store at the moment of a Close is there
// again when that returns. A store that takes longer than a handshake would wait
// holds up no Close.
func TestACloseLosesNothingThatIsBeingFetched(t *testing.T) {
	for why, row := range map[string]struct {
		takes time.Duration
		back  bool
	}{
		"in time":  {takeDeadline / 2, true},
		"too late": {2 * takeDeadline, false},
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, p := newFleet(), newPeer(t)
				first := f.cache(t)
				p.bound(t, first.Scope("tenant"), true)
				require.NoError(t, first.Close())
				stored := func() (n int) {
					f.shelf.mu.Lock()
					defer f.shelf.mu.Unlock()
					for _, entries := range f.shelf.stacks {
						n += len(entries)
					}
					return n
				}
				require.Equal(t, 1, stored())

				second := &ClientCache{Store: Seal(slowAnswer{f.shelf, row.takes}, f.keys)}
				scope := second.Scope("tenant")
				key := serverKey{space: scope.domain.view(p.client).space, name: serverName}
				asked := second.core().prefetch(key, scope.domain.view(p.client))
				require.NotNil(t, asked)
				synctest.Wait()
				began := time.Now()
				require.NoError(t, second.Close())
				require.LessOrEqual(t, time.Since(began), takeDeadline)
				if row.back {
					require.Equal(t, 1, stored())
				}
				<-asked
				_, ok := second.core().vault.enter(key)
				require.False(t, ok, "nor does another begin")
			})
		})
	}
}
