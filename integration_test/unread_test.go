package integration_test

import (
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// unread makes a connection that nobody reads and that stays open until the
// test ends: a Close may read what has arrived.
func (e entry) unread(t testing.TB, addr string) (resumed bool) {
	t.Helper()
	return e.connect(t, addr).ConnectionState().DidResume
}

// Rule T1: a ticket comes in inside Read.
func TestAConnectionThatNobodyReadsBringsNoTicket(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			for range 3 {
				require.False(t, e.unread(t, s.Addr))
				require.Nil(t, e.Get0Session(e.key(s.Addr)))
			}
			assert.Zero(t, c.Stats().Captured)
			assert.Zero(t, s.Identities.Counts().Offered)

			e.full(t, s.Addr) // it reads
			require.True(t, e.unread(t, s.Addr), "the one ticket there is")
			require.False(t, e.unread(t, s.Addr), "a resumed connection brings none either")
			assert.EqualValues(t, 1, c.Stats().Captured)
			require.Equal(t, 1, requireNoReuse(t, s.Identities).Offered)
		})
	}
}

// In TLS 1.2 the ticket is part of the handshake.
func TestATLS12TicketNeedsNoRead(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{server: onlyTLS12})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.client)
			require.False(t, e.unread(t, s.Addr))
			require.True(t, e.unread(t, s.Addr))
			require.True(t, e.unread(t, s.Addr))
			assert.EqualValues(t, 3, c.Stats().Captured)
			requireNoReuse(t, s.Identities)
		})
	}
}

// The ticket and the answer have arrived, and wait. Nobody reads in the
// program's place, and whoever reads late has lost nothing.
func TestATicketIsCapturedWhenSomebodyReads(t *testing.T) {
	inBubbles(t, "late", func(t *testing.T, w way) {
		m := newMemory(term{})
		c, heard := listen(t, new(resume.ClientCache))
		e := m.reach(w.open(c, m.client))
		late := e.connect(t, "")
		_, err := io.WriteString(late, "level\n")
		require.NoError(t, err)
		for range 3 {
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Empty(t, heard.got())
			require.False(t, e.unread(t, ""))
		}

		require.NoError(t, talk(late))
		require.Len(t, heard.got(), 1)
		require.True(t, e.Get0Session(host).Same(heard.got()[0]))
		require.True(t, e.unread(t, ""))
		require.Equal(t, 1, requireNoReuse(t, m.seen).Offered)
	})
}

// Rule T1 again: there is no data, but there is a ticket. A read that gives up
// brings it, and leaves the connection as it was.
func TestAReadThatTimesOutBringsTheTicket(t *testing.T) {
	inBubbles(t, "deadline", func(t *testing.T, w way) {
		m := newMemory(term{})
		c, heard := listen(t, new(resume.ClientCache))
		e := m.reach(w.open(c, m.client))
		conn := e.connect(t, "")
		for range 3 {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
			_, err := conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Len(t, heard.got(), 1, "the first read brought it")
		}
		require.True(t, e.unread(t, ""))
		require.NoError(t, talk(conn))
		require.Equal(t, 1, requireNoReuse(t, m.seen).Offered)
	})
}
