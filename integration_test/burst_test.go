package integration_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

const (
	parallel = 64
	rounds   = 20
)

// Not per round: a round may use tickets that it brought itself. In total there
// is a bound. A handshake is full only if no ticket is there, so that at most
// 63 others are under way, and each full one adds a ticket for good: there are
// at most 64 of them.
func TestBurstsUseEveryTicketOnce(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.with(onlyP256))

			resumed := 0
			for range rounds {
				resumed += e.crowd(t, s.Addr, parallel)
			}

			counts, st := requireNoReuse(t, s.Identities), c.Stats()
			const total = parallel * rounds
			assert.Equal(t, total, counts.Connections)
			assert.Equal(t, resumed, counts.Offered, "every ticket that was offered was taken")
			assert.GreaterOrEqual(t, 100*resumed, 95*total)
			assert.EqualValues(t, total, st.Captured, "every connection brought a ticket")
			assert.EqualValues(t, resumed, st.Used)
			assert.EqualValues(t, total-resumed, st.Kept)
		})
	}
}

// Two caches know nothing of each other, and a server gives no ticket to both.
func TestCachesOfOneServerShareNoTicket(t *testing.T) {
	s := newSite(t, setup{})
	caches := [2]*resume.ClientCache{}
	var entries []entry
	for i := range caches {
		caches[i] = newCache(t, new(resume.ClientCache))
		for _, w := range ways {
			entries = append(entries, w.open(caches[i], s.with(onlyP256)))
		}
	}
	const each, turns = 8, 4
	for range turns {
		var all errgroup.Group
		for range each {
			for _, e := range entries {
				all.Go(func() error {
					_, err := e.visit(s.Addr)
					return err
				})
			}
		}
		require.NoError(t, all.Wait())
	}

	counts := requireNoReuse(t, s.Identities)
	used, captured := uint64(0), uint64(0)
	for _, c := range caches {
		used, captured = used+c.Stats().Used, captured+c.Stats().Captured
	}
	assert.EqualValues(t, counts.Offered, used)
	assert.EqualValues(t, counts.Connections, captured)
	assert.GreaterOrEqual(t, counts.Offered, counts.Connections*(turns-1)/turns)
}
