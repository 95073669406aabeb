package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A tardy store has put entries some time before it says so.
type tardy struct{ *shelf }

func (s tardy) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	defer s.enter(ctx, "stored")
	return s.shelf.Put(ctx, key, entries...)
}

// A session ends while the store has it and has not said so. Whoever asks the
// store at that moment, here, does not get it (rule N28).
func TestSessionThatEndsWhileItIsWrittenIsNotFetched(t *testing.T) {
	for _, row := range []struct {
		why string
		end func(c *ClientCache, conn *Conn)
	}{
		{"an alert on its connection", func(_ *ClientCache, conn *Conn) { conn.forfeit(failedAlert) }},
		{"Remove", func(c *ClientCache, conn *Conn) { c.Remove(conn.Get0Session()) }},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, f := newPeer(t), newFleet()
				f.shelf.slow("stored", 20*time.Millisecond)
				c := &ClientCache{Store: Seal(tardy{f.shelf}, f.keys)}
				scope := c.Scope("tenant")
				first := scope.NewConn(p.serve(), p.client)
				require.NoError(t, first.Handshake())
				exchange(t, first)
				synctest.Wait() // it is there, and the writer waits to hear of it
				require.Equal(t, 1, f.shelf.size())
				row.end(c, first)

				second := scope.NewConn(p.serve(), p.client)
				second.fetched = c.core().prefetch(first.key(), second.view) // as a Dialer does
				require.NoError(t, second.Handshake())
				require.False(t, second.ConnectionState().DidResume)
				require.Equal(t, tlstest.Counts{Connections: 2}, p.seen.Counts())
				first.Close()
				second.Close()
				require.NoError(t, c.Close())
				<-time.After(2 * writeDeadline)
				checkForgotten(t, c)
				checkStats(t, c)
			})
		})
	}
}

// What others have put is not held up by what is being written here, which would
// look as if the store were slow.
func TestFetchWaitsForNoOtherWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		p.stock(t, a.Scope("tenant"), 1)
		flush(t, a)
		f.shelf.slow("put", time.Second)
		conn := b.Scope("tenant").NewConn(p.serve(), p.client)
		conn.warming = true // or it would fetch
		require.NoError(t, conn.Handshake())
		exchange(t, conn)
		synctest.Wait() // the writer has called the store
		began := time.Now()
		fetched := <-b.core().vault.share(conn.key(), conn.view)
		require.Equal(t, 1, fetched.Val)
		require.Zero(t, time.Since(began))
		conn.Close()
	})
}

// A session that ends while it waits to be written is none that the store lost.
func TestSessionThatEndsInTheQueueIsNoFailure(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			p, f := newPeer(t), newFleet()
			p.client.MaxVersion = version
			f.shelf.slow("put", 10*time.Millisecond)
			c := f.cache(t)
			scope := c.Scope("tenant")
			var conns []*Conn
			for range 2 {
				conn := scope.NewConn(p.serve(), p.client)
				conn.warming = true
				require.NoError(t, conn.Handshake())
				exchange(t, conn)
				conns = append(conns, conn)
				synctest.Wait() // the writer has the first
			}
			require.True(t, c.Remove(conns[1].Get0Session()))
			flush(t, c)
			require.Empty(t, f.failures())
			require.Equal(t, 1, f.shelf.size())
			for _, conn := range conns {
				conn.Close()
			}
		})
	}
}

// The same when the store never says that it has the session.
func TestSessionThatEndsWhileItsPutIsLostIsNotFetched(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			p, f := newPeer(t), newFleet()
			p.client.MaxVersion = version
			f.shelf.late = errors.New("the reply was lost")
			f.shelf.slow("stored", time.Millisecond)
			f.shelf.slow("delete", time.Minute) // longer than anybody waits
			c := &ClientCache{Store: Seal(tardy{f.shelf}, f.keys)}
			conn := c.Scope("tenant").NewConn(p.serve(), p.client)
			require.NoError(t, conn.Handshake())
			exchange(t, conn)
			synctest.Wait()
			require.Equal(t, 1, f.shelf.size())
			require.True(t, c.Remove(conn.Get0Session()))
			<-time.After(writeDeadline + time.Second)
			require.Equal(t, 1, f.shelf.size(), "it is still there")
			require.False(t, resumes(t, p, c.Scope("tenant")))
			conn.Close()
			c.Close()
			<-time.After(time.Hour)
		})
	}
}

// Whether a session was pushed out of the pool while it was being written makes
// no difference to what its connection's end means for it.
func TestAlertForfeitsASessionThatIsEvictedWhileItIsWritten(t *testing.T) {
	for _, stores := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, mint := newFleet(), newMint(t)
			f.shelf.slow("put", 10*time.Millisecond)
			var store cache.Store = f.shelf
			if !stores {
				store = slowFailure{f.shelf}
			}
			c := &ClientCache{Store: Seal(store, f.keys), TicketsPerServer: 1}
			scope := c.Scope("tenant")
			conn := receiver(scope)
			conn.shim.Put(serverName, mint.session())
			h := conn.Get1Session()
			synctest.Wait() // the writer has it
			other := receiver(scope)
			other.shim.Put(serverName, mint.session())
			assert.Equal(t, stowingEvicted, h.s.verdict.Load())
			conn.forfeit(failedAlert)
			time.Sleep(time.Second)
			assert.Equal(t, Failed, h.Status())
			assert.Equal(t, "alert", h.Reason())
			h.Release()
			conn.Close()
			other.Close()
			ignoreIf(!stores, c.Close())
			if stores {
				assert.Equal(t, 1, f.shelf.size(), "the other")
			}
		})
	}
}

// The writer has stored a session and has not taken it out of the pool yet: a
// bound that does it has not ended the session.
func TestStoredSessionThatIsEvictedHasNotEnded(t *testing.T) {
	for _, v := range []verdict{stored, reclaiming} {
		f, mint := newFleet(), newMint(t)
		var left []string
		c := &ClientCache{
			Store: Seal(f.shelf, f.keys), TicketsPerServer: 1, NearTickets: 1,
			RemoveSession: func(s *Session) { left = append(left, s.String()) },
		}
		scope := c.Scope("tenant")
		scope.Get(serverName) // which makes the server a busy one
		scope.Put(serverName, mint.session())
		h := scope.Get1Session(serverName)
		h.s.verdict.Store(v)
		scope.Put(serverName, mint.session())
		require.Equal(t, v, h.s.verdict.Load())
		require.Empty(t, left)
		h.Release()
		require.NoError(t, c.Close())
	}
}
