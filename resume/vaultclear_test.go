package resume

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What a fetch brings while Clear is at the store, or on its way there, was to
// be cleared: it is offered no more when Clear has returned.
func TestClearReachesWhatIsFetchedMeanwhile(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, row := range []struct {
			why                string
			take, reply, clear time.Duration
		}{
			{"fetched at once", 0, 0, 20 * time.Millisecond},
			{"and told of later", 0, 30 * time.Millisecond, 20 * time.Millisecond},
			{"or looked for behind it", 30 * time.Millisecond, 0, 20 * time.Millisecond},
		} {
			synctest.Test(t, func(t *testing.T) {
				p, f := newPeer(t), newFleet()
				p.client.MaxVersion = version
				a, b := f.cache(t), f.cache(t)
				p.stock(t, a.Scope("tenant"), 1)
				flush(t, a)
				stored := f.shelf.size()
				require.NotZero(t, stored)
				f.shelf.slow("take", row.take)
				f.shelf.slow("reply", row.reply)
				f.shelf.slow("clear", row.clear)
				scope := b.Scope("tenant")
				cleared := make(chan error)
				go func() { cleared <- scope.Clear(t.Context()) }()
				synctest.Wait() // it is at the store
				view := scope.domain.view(p.client)
				fetched := b.core().vault.share(serverKey{space: view.space, name: serverName}, view)
				require.NoError(t, <-cleared)
				<-fetched
				before := p.seen.Counts().Offered
				require.False(t, resumes(t, p, scope), row.why)
				require.Equal(t, before, p.seen.Counts().Offered)
				checkStats(t, b)
			})
		}
	}
}
