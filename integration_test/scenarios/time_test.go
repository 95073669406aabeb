package scenarios_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// test_session_timeout: what ends first goes first, in whatever order it came,
// and SSL_CTX_flush_sessions (here Sweep) drops that and no other. Theirs sets
// the time and the timeout of sessions; ours never change, and end with the
// certificates of three servers.
func TestASweepDropsWhatHasExpiredWhenItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, heard := listen(t, new(resume.ClientCache))
		scope := c.NewScope()
		begun := time.Now()
		in := func(name string, hours time.Duration) *memory {
			m := newMemory(name, begun.Add(hours*time.Hour))
			conn, _ := m.connect(t, bound(scope, m.client))
			require.Empty(t, hear(t, conn))
			conn.Close()
			return m
		}
		servers := []*memory{in("late.test", 30), in("early.test", 10), in("middle.test", 20)}
		heard.requireCalls(t, 3, 0)
		all := heard.sessions()
		late, early, middle := all[0], all[1], all[2]

		for i, next := range []*resume.Session{early, middle, late} {
			end := begun.Add(time.Duration(i+1) * 10 * time.Hour)
			time.Sleep(time.Until(end) - time.Second)
			require.Equal(t, resume.Resumable, next.Status())
			require.Zero(t, c.Sweep())
			heard.requireCalls(t, 0, 0)

			time.Sleep(2 * time.Second)
			require.Equal(t, resume.Expired, next.Status(), "with nobody touching it")
			require.Equal(t, 3-i, c.Stats().Pooled)
			require.Equal(t, 1, c.Sweep())
			heard.requireCalls(t, 0, 1)
			require.Equal(t, 2-i, c.Stats().Pooled)
		}
		require.Equal(t, []string{"Expired: leaf-expired", "Expired: leaf-expired", "Expired: leaf-expired"}, heard.ended())
		for _, m := range servers {
			m.requireOffered(t, 0)
		}
	})
}

// test_session_timeout, without a Sweep: whoever comes too late makes a full
// handshake, and that drops the session.
func TestAnExpiredSessionIsNotOffered(t *testing.T) {
	for _, w := range ways {
		inBubble(t, w.name, func(t *testing.T, m *memory) {
			const maxAge = time.Hour
			c, heard := listen(t, &resume.ClientCache{MaxAge: maxAge})
			way := w.open(c, m)
			for range 2 {
				conn, _ := m.connect(t, way)
				require.Empty(t, hear(t, conn))
				conn.Close()
			}
			heard.requireCalls(t, 2, 1) // the second was resumed
			time.Sleep(maxAge)
			require.Equal(t, resume.Expired, heard.sessions()[1].Status())
			require.False(t, m.visit(t, way))
			heard.requireCalls(t, 0, 1)
			require.Equal(t, "Expired: max-age", heard.ended()[1])
			m.requireOffered(t, 1)
		})
	}
}

// test_ticket_lifetime: theirs asks a server for more than a week and gets a
// week. openssl s_server has no option for it, and crypto/tls servers always
// say a week; a scribe says anything. A ticket lives as long as it is said to,
// or MaxAge if that is shorter.
func TestATicketLivesAsLongAsItsServerSays(t *testing.T) {
	for _, row := range []struct {
		lifetime, maxAge, lives time.Duration
		reason                  string
	}{
		{lifetime: time.Minute, lives: time.Minute, reason: "lifetime"},
		{lifetime: day, lives: day, reason: "lifetime"},
		{lifetime: 7*day - time.Second, lives: 7*day - time.Second, reason: "lifetime"},
		{lifetime: day, maxAge: time.Hour, lives: time.Hour, reason: "max-age"},
		{lifetime: time.Minute, maxAge: time.Hour, lives: time.Minute, reason: "lifetime"},
		{lifetime: 7 * day, maxAge: 30 * day, lives: 7 * day, reason: "max-age"}, // rule N1
	} {
		for _, wait := range []time.Duration{row.lives - time.Second, row.lives} {
			inBubble(t, row.lifetime.String()+" "+row.maxAge.String()+" after "+wait.String(), func(t *testing.T, m *memory) {
				c, heard := listen(t, &resume.ClientCache{MaxAge: row.maxAge, MaxChainAge: 60 * day})
				way := bound(c.NewScope(), m.client)
				conn, server := m.connect(t, way)
				server.ticket(t, row.lifetime)
				began := time.Now()
				require.Empty(t, hear(t, conn))
				session := heard.sessions()[1]
				require.WithinDuration(t, began.Add(row.lives), session.Info().Expires, 0)
				require.True(t, c.Remove(heard.sessions()[0]))

				time.Sleep(time.Until(began.Add(wait)))
				if wait < row.lives {
					require.True(t, session.Resumable())
					m.requireLeft(t, way, 1)
					m.requireOffered(t, 1)
					return
				}
				require.Equal(t, resume.Expired, session.Status())
				require.Equal(t, row.reason, session.Reason())
				require.False(t, m.visit(t, way))
				m.requireOffered(t, 0)
			})
		}
	}
}

// test_ticket_lifetime at its ends. A lifetime of zero says to discard the
// ticket at once (rule N2). More than a week is forbidden: crypto/tls ends the
// connection with an alert, and that forfeits what came on it (rule N28).
func TestALifetimeOfNothingOrTooLongGivesNoSession(t *testing.T) {
	inBubble(t, "nothing", func(t *testing.T, m *memory) {
		c, heard := listen(t, new(resume.ClientCache))
		way := bound(c.NewScope(), m.client)
		conn, server := m.connect(t, way)
		server.ticket(t, 0)
		server.say(t, "x")
		require.Equal(t, "x", hear(t, conn))
		heard.requireCalls(t, 1, 0) // of the handshake
		m.requireLeft(t, way, 1)
		m.requireOffered(t, 1)
	})
	inBubble(t, "too long", func(t *testing.T, m *memory) {
		c, heard := listen(t, new(resume.ClientCache))
		way := bound(c.NewScope(), m.client)
		conn, server := m.connect(t, way)
		server.ticket(t, 7*day+time.Second)
		_, err := conn.Read(make([]byte, 1))
		require.ErrorContains(t, err, "invalid lifetime")
		heard.requireCalls(t, 1, 1)
		require.Equal(t, []string{"Failed: alert"}, heard.ended())
		m.requireLeft(t, way, 0)
		m.requireOffered(t, 0)
	})
}
