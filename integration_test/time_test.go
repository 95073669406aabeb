package integration_test

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// longChains takes rule N11 out of the way of what else a test is about.
const longChains = 60 * day

// inBubbles runs a test for each way in, each in a bubble of its own.
func inBubbles(t *testing.T, name string, test func(*testing.T, way)) {
	for _, w := range overPipes() {
		t.Run(name+"/"+w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, w) })
		})
	}
}

// Rule N11: each connection brings the ticket of the next, so that nothing but
// the bound on chains ever asks for a full handshake.
func TestAChainOfResumptionsEndsAfterSevenDays(t *testing.T) {
	for _, row := range []struct {
		every time.Duration
		full  int
		why   string
	}{
		{5 * time.Hour, 2, "at first, and after 170 hours"},
		{23 * time.Hour, 2, "at first, and after 184 hours"},
		{100 * time.Hour, 2, "at first, and after 200 hours, when no ticket is 7 days old"},
		{167 * time.Hour, 2, "at first, and after 334 hours: the last ticket of a chain may serve an hour"},
	} {
		inBubbles(t, row.every.String(), func(t *testing.T, w way) {
			m := newMemory(term{})
			c := newCache(t, new(resume.ClientCache))
			e := m.reach(w.open(c, m.client))
			full, resumed := dialEvery(t, e, row.every, 14*day)
			assert.Equal(t, row.full, full, row.why)

			counts, st := requireNoReuse(t, m.seen), c.Stats()
			assert.Equal(t, resumed, counts.Offered, "what a full handshake was due for was not offered")
			assert.EqualValues(t, resumed, st.Used)
			assert.EqualValues(t, full-1, st.Expired, "the ends of the chains before the last")
			m.ages.requireYounger(t, 7*day)
		})
	}
}

// dialEvery makes a connection every few hours and holds for each that it was
// full or resumed as its chain demands.
func dialEvery(t *testing.T, e entry, every, span time.Duration) (full, resumed int) {
	t.Helper()
	var began time.Time // of the chain
	for end := time.Now().Add(span); !time.Now().After(end); time.Sleep(every) {
		if !began.IsZero() && time.Since(began) < 7*day {
			e.resumed(t, "")
			resumed++
			continue
		}
		e.full(t, "")
		began = time.Now()
		full++
	}
	return full, resumed
}

// Rule N1. The client's clock stands still, so that crypto/tls takes every
// ticket for fresh and nobody but this layer can hold one back.
func TestATicketIsNotOfferedAfterSevenDays(t *testing.T) {
	for _, row := range []struct {
		gap     time.Duration
		resumed bool
		why     string
	}{
		{7*day - time.Minute, true, "the server grants 7 days"},
		{7*day + time.Minute, false, "longer it must not be kept"},
		{30 * day, false, "much longer neither"},
	} {
		inBubbles(t, row.gap.String(), func(t *testing.T, w way) {
			m := newMemory(term{})
			stopped := time.Now()
			c := newCache(t, &resume.ClientCache{MaxChainAge: longChains})
			e := m.reach(w.open(c, m.with(func(c *tls.Config) {
				c.Time = func() time.Time { return stopped }
			})))
			e.full(t, "")
			only := e.Get1Session(host)
			defer only.Release()
			time.Sleep(row.gap)
			if row.resumed {
				e.resumed(t, "")
				require.Equal(t, resume.Used, only.Status())
			} else {
				require.Equal(t, resume.Expired, only.Status())
				e.full(t, "")
				require.Zero(t, m.seen.Counts().Offered, row.why)
				require.EqualValues(t, 1, c.Stats().Expired)
			}
			e.resumed(t, "")
			requireNoReuse(t, m.seen)
			m.ages.requireYounger(t, 7*day)
		})
	}
}

// With default bounds a week without connections costs a full handshake, and
// no more.
func TestAWeekWithoutConnectionsCostsOneHandshake(t *testing.T) {
	inBubbles(t, "default bounds", func(t *testing.T, w way) {
		m := newMemory(term{})
		c := newCache(t, new(resume.ClientCache))
		e := m.reach(w.open(c, m.client))
		const weeks = 4
		for range weeks {
			e.full(t, "")
			e.resumed(t, "")
			time.Sleep(7*day + time.Minute)
		}
		require.Equal(t, weeks, requireNoReuse(t, m.seen).Offered)
	})
}

// Rule N20. The server gives one ticket in all, as OpenSSL's do until a full
// handshake, and would take it for 7 days.
func TestATLS12SessionIsNotOfferedAfterADay(t *testing.T) {
	inBubbles(t, "one ticket", func(t *testing.T, w way) {
		m := newMemory(term{}, onlyTLS12, func(c *tls.Config) { c.WrapSession = onlyOnce(c) })
		c := newCache(t, &resume.ClientCache{MaxAge: 7 * day}) // shortens, and never lengthens
		e := m.reach(w.open(c, m.client))
		e.full(t, "")
		only := e.Get1Session(host)
		defer only.Release()
		for range 4 {
			time.Sleep(6*time.Hour - time.Second)
			e.resumed(t, "")
		}
		require.Equal(t, resume.Resumable, only.Status())

		time.Sleep(time.Minute)
		require.Equal(t, resume.Expired, only.Status())
		for range 2 {
			e.full(t, "")
		}
		require.Equal(t, 4, m.seen.Counts().Offered)
		require.EqualValues(t, 1, c.Stats().Expired)
		m.ages.requireYounger(t, day)
	})
}

// A resumed TLS 1.2 connection may bring a new ticket, as those of Go do, but
// its master secret is the old one: that is what rule N20 gives a day.
func TestAChainOfTLS12ResumptionsEndsAfterADay(t *testing.T) {
	inBubbles(t, "a ticket each time", func(t *testing.T, w way) {
		m := newMemory(term{}, onlyTLS12)
		c := newCache(t, new(resume.ClientCache))
		e := m.reach(w.open(c, m.client))
		for range 3 {
			e.full(t, "")
			for range 3 {
				time.Sleep(6 * time.Hour)
				e.resumed(t, "")
			}
			time.Sleep(6 * time.Hour)
		}
	})
}

// A clock is a tls.Config.Time that can be set. The other clock, this layer's
// own, is time.Now, which no test out here can set back: that of a bubble only
// goes forward. What the layer makes of a time before the receipt is held by
// TestClockBeforeReceiptIsNotNow of package resume.
type clock struct{ ahead atomic.Int64 }

func (c *clock) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }
func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) in(config *tls.Config)   { config.Time = c.now }

// A clock that is wrong by as much all the time makes no difference: how long
// a ticket lasts is a distance, and counts from its receipt by our own clock.
func TestAClockThatIsWrongAllTheTimeMakesNoDifference(t *testing.T) {
	for _, ahead := range []time.Duration{-30 * day, -5 * time.Hour, 5 * time.Hour, 30 * day} {
		inBubbles(t, ahead.String(), func(t *testing.T, w way) {
			m, wrong := newMemory(term{}), new(clock)
			wrong.set(ahead)
			c := newCache(t, &resume.ClientCache{MaxChainAge: longChains})
			e := m.reach(w.open(c, m.with(wrong.in)))
			e.full(t, "")
			for range 3 {
				require.WithinDuration(t, time.Now().Add(7*day), e.Get0Session(host).Info().Expires, time.Second)
				time.Sleep(7*day - time.Minute)
				e.resumed(t, "")
			}
			time.Sleep(7*day + time.Minute)
			e.full(t, "")
			require.Equal(t, 3, requireNoReuse(t, m.seen).Offered)
			m.ages.requireYounger(t, 7*day)
		})
	}
}

// The client's clock is set after a ticket has come. What is offered must be
// good by both clocks.
func TestAClockThatIsSetOffersNothingThatIsOver(t *testing.T) {
	for _, row := range []struct {
		ahead, after time.Duration
		resumed      bool
		why          string
	}{
		{-5 * time.Hour, time.Hour, true, "set back before the receipt, which crypto/tls does not mind"},
		{5 * time.Hour, time.Hour, true, "set forward, within the lifetime"},
		{-5 * time.Hour, 7*day - time.Minute, true, "set back: our clock counts"},
		{-5 * time.Hour, 7*day + time.Minute, false, "set back: over by our clock, and not by the other"},
		{5 * time.Hour, 7*day - time.Hour, false, "set forward: over by the other clock, so crypto/tls refuses"},
	} {
		inBubbles(t, fmt.Sprint(row.ahead, " after ", row.after), func(t *testing.T, w way) {
			m, moved := newMemory(term{}), new(clock)
			c := newCache(t, &resume.ClientCache{MaxChainAge: longChains})
			e := m.reach(w.open(c, m.with(moved.in)))
			e.full(t, "")

			moved.set(row.ahead)
			time.Sleep(row.after)
			resumed, err := e.visit("")
			require.NoError(t, err)
			require.Equal(t, row.resumed, resumed, row.why)
			if !row.resumed {
				require.Zero(t, m.seen.Counts().Offered, row.why)
			}
			e.resumed(t, "") // with what that one brought
			requireNoReuse(t, m.seen)
			m.ages.requireYounger(t, 7*day)
		})
	}
}

// Two configurations of one named scope, and the clock of one is wrong. What
// crypto/tls refuses it was never sent (rule T5), so that in the bound way the
// other still has it. In a TLSConfig that holds for what the layer foresees.
func TestAWrongClockCostsARightOneNothing(t *testing.T) {
	for _, row := range []struct {
		ahead    time.Duration
		valid    term
		foreseen bool
		connects bool
		why      string
	}{
		{8 * day, term{}, true, true, "forward: the lifetime is over"},
		{3 * day, term{leaf: 2 * day}, true, false, "forward: the certificate has ended"},
		{3 * day, term{root: 2 * day}, false, false, "forward: the root has ended"},
		{-3 * day, term{from: 2 * day}, false, false, "back: the certificate is not valid yet"},
	} {
		for _, name := range []string{"NewConn", "TLSConfig"} {
			if name == "TLSConfig" && !row.foreseen {
				continue
			}
			t.Run(row.why+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, wrong := newMemory(row.valid), new(clock)
					wrong.set(row.ahead)
					c := newCache(t, new(resume.ClientCache))
					scope, open := c.Scope("tenant"), inScope[name]
					right, other := m.reach(open(scope, m.client)), m.reach(open(scope, m.with(wrong.in)))
					right.full(t, "")
					only := right.Get1Session(host)
					defer only.Release()
					for range 3 {
						other.suffers(t, row.connects)
						require.Equal(t, resume.Resumable, only.Status())
					}
					require.Zero(t, m.seen.Counts().Offered)
					right.resumed(t, "")
					require.Equal(t, resume.Used, only.Status())
				})
			})
		}
	}
}

// suffers makes a connection with a wrong clock: a full one, that leaves no
// ticket of its own, or none.
func (e entry) suffers(t *testing.T, connects bool) {
	t.Helper()
	if connects {
		require.False(t, e.glance(t, ""))
		return
	}
	_, err := e.visit("")
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
}
