package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
