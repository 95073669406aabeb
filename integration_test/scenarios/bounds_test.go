package scenarios_test

import (
	"crypto/tls"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// test_session_cache_overflow: a cache with room for one. The session that had
// to make room is gone from it, and resumes for who has kept it: theirs is
// handed back by a callback, ours is dialled with.
func TestASessionThatMadeRoomResumesForWhoHoldsIt(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			change := func(c *tls.Config) { c.MaxVersion = version }
			first, second := newGo(t, change), newGo(t, change)
			c, heard := listen(t, &resume.ClientCache{MaxServers: 1})
			scope := c.NewScope()
			here := &resume.Dialer{Scope: scope, Config: first.client}
			there := &resume.Dialer{Scope: scope, Config: second.client}
			require.False(t, first.visit(t, here))
			heard.requireCalls(t, 1, 0)
			held := heard.sessions()[0]

			require.False(t, second.visit(t, there))
			heard.requireCalls(t, 1, 1)
			require.Equal(t, 1, c.Stats().Servers)
			require.Equal(t, resume.Resumable, held.Status())
			require.Equal(t, "evicted", held.Reason())
			require.False(t, first.visit(t, here), "the cache has forgotten it")
			heard.requireCalls(t, 1, 1)
			first.requireOffered(t, 0)

			require.True(t, first.visit(t, exactly(here, held)))
			require.Equal(t, 1, c.Stats().Servers)
			require.False(t, second.visit(t, there), "it had to make room in its turn")
			first.requireOffered(t, 1)
			second.requireOffered(t, 0)
		})
	}
}

// test_session_cache_overflow, of one server's tickets: the oldest make room.
func TestTheOldestTicketsOfAServerMakeRoom(t *testing.T) {
	for _, w := range ways {
		inBubble(t, w.name, func(t *testing.T, m *memory) {
			const room, sent = 3, 7
			c, heard := listen(t, &resume.ClientCache{TicketsPerServer: room})
			way := w.open(c, m)
			conn, server := m.connect(t, way)
			for range sent - 1 { // and the one of the handshake
				server.ticket(t, day)
			}
			require.Empty(t, hear(t, conn))
			heard.requireCalls(t, sent, sent-room)
			for i, s := range heard.sessions() {
				require.Equal(t, i < sent-room, s.Reason() == "evicted", "ticket %d", i+1)
			}
			require.Equal(t, room, c.Stats().Pooled)
			m.requireLeft(t, way, room)
			for i, s := range heard.sessions() {
				require.Equal(t, i < sent-room, s.Resumable(), "ticket %d", i+1)
			}
			heard.requireCalls(t, 0, room)
			m.requireOffered(t, room)
		})
	}
}

// test_session_cache_overflow, of many servers: as many as there is room for
// are resumed with.
func TestAsManyServersAreRememberedAsThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, all = 3, 7
		c, heard := listen(t, &resume.ClientCache{MaxServers: room})
		scope := c.NewScope()
		visits := make(map[*memory]func() bool)
		for i := range all {
			m := newMemory(fmt.Sprintf("server%d.test", i), time.Now().Add(day))
			way := bound(scope, m.client)
			conn, _ := m.connect(t, way)
			require.Empty(t, hear(t, conn))
			conn.Close()
			visits[m] = func() bool { return m.visit(t, way) }
		}
		heard.requireCalls(t, all, all-room)
		require.Equal(t, room, c.Stats().Servers)

		resumed := 0
		for m, visit := range visits {
			if visit() {
				resumed++
				m.requireOffered(t, 1)
			} else {
				m.requireOffered(t, 0)
			}
		}
		require.Equal(t, room, resumed)
		heard.requireCalls(t, 0, room)
	})
}
