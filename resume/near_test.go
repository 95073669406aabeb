package resume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// nearby is a cache with a near tier. It ends with the test.
func (f *fleet) nearby(t testing.TB, size int) *ClientCache {
	c := f.cache(t)
	c.NearTickets = size
	return c
}

// dials makes connections one after the other that bring a ticket each, and
// returns how many were resumed and how long the slowest took.
func dials(t testing.TB, p *peer, scope *Scope, n int) (resumed int, slowest time.Duration) {
	t.Helper()
	for range n {
		began := time.Now()
		if resumes(t, p, scope) {
			resumed++
		}
		slowest = max(slowest, time.Since(began))
		synctest.Wait()
	}
	return resumed, slowest
}

func (s *shelf) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takes
}

// A busy server's tickets stay in the process: no handshake waits for a store
// across a network, and the store is hardly asked.
func TestNearTierKeepsABusyServersTicketsAtHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.nearby(t, 4)
		require.False(t, resumes(t, p, c.Scope("tenant")))
		f.shelf.slow("take", 10*time.Millisecond)
		resumed, slowest := dials(t, p, c.Scope("tenant"), 50)
		require.Equal(t, 50, resumed)
		require.Zero(t, slowest)
		require.Zero(t, f.shelf.size(), "one ticket at a time is less than the near tier holds")
		require.NoError(t, c.Close())
		require.Equal(t, 1, f.shelf.size(), "Close spills it")
		time.Sleep(10 * time.Millisecond) // a refill may be under way
	})
}

// What is more than the near tier holds goes to the store, and comes back from
// there by the batch, behind the handshakes.
func TestNearTierIsFilledByTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		const tickets, size = 32, 8
		p.stock(t, f.cache(t).Scope("tenant"), tickets)
		synctest.Wait()
		require.Equal(t, tickets, f.shelf.size())

		c, before := f.nearby(t, size), f.shelf.taken()
		f.shelf.slow("take", 10*time.Millisecond)
		waited := 0
		for range tickets { // each uses one up and brings none
			began := time.Now()
			conn := p.bound(t, c.Scope("tenant"), false)
			require.True(t, conn.ConnectionState().DidResume)
			if time.Since(began) > 0 {
				waited++
			}
			conn.NetConn().Close()
			conn.Close()
			time.Sleep(10 * time.Millisecond) // as long as a refill takes
		}
		require.Equal(t, 1, waited, "the first")
		require.LessOrEqual(t, f.shelf.taken()-before, 1+tickets/(size/2))
		require.Equal(t, tickets, p.seen.Counts().Offered)
		checkStats(t, c)
	})
}

// Whoever dials no more leaves its tickets to the others.
func TestNearTierSpillsWhatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.nearby(t, 4), f.nearby(t, 4)
		p.stock(t, a.Scope("tenant"), 3)
		synctest.Wait()
		require.Zero(t, f.shelf.size())
		time.Sleep(2 * nearIdle)
		synctest.Wait()
		require.Equal(t, 3, f.shelf.size())
		require.True(t, resumes(t, p, b.Scope("tenant")))
		checkStats(t, a)
		checkStats(t, b)
	})
}

// A store that is down is left alone after a few failures, and no handshake
// waits for it; when it is back it is used again.
func TestBreakerKeepsHandshakesFromABrokenStore(t *testing.T) {
	for _, row := range []struct {
		why   string
		down  func(s *shelf)
		up    func(s *shelf)
		waits time.Duration // of a handshake before the breaker opens, at most
	}{
		{"down", func(s *shelf) { s.fail(errors.New("down")) }, func(s *shelf) { s.fail(nil) }, 0},
		{"hanging", func(s *shelf) { s.slow("take", time.Hour) }, func(s *shelf) { s.slow("take", 0) }, takeDeadline},
		{"slow", func(s *shelf) { s.slow("take", time.Second) }, func(s *shelf) { s.slow("take", 0) }, takeDeadline},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, f := newPeer(t), newFleet()
				c := f.cache(t)
				p.stock(t, c.Scope("tenant"), 2)
				flush(t, c)
				row.down(f.shelf)
				for n := range breakAfter { // each at another server, as one fetch of a key may still be late
					began := time.Now()
					_, ok := c.Scope(fmt.Sprint("tenant", n)).Get("other.test")
					require.False(t, ok)
					require.LessOrEqual(t, time.Since(began), row.waits)
					synctest.Wait()
				}
				require.Equal(t, 1, f.count(StoreSuspended, "take"))
				_, slowest := dials(t, p, c.Scope("tenant"), 3)
				require.Zero(t, slowest)
				require.Positive(t, c.Stats().Suspended)

				row.up(f.shelf)
				time.Sleep(time.Minute)
				before := f.shelf.taken()
				require.True(t, resumes(t, p, c.Scope("tenant")))
				flush(t, c)
				_, ok := c.Scope("another").Get(serverName)
				require.False(t, ok)
				require.Greater(t, f.shelf.taken(), before)
				require.Equal(t, 1, f.count(StoreRecovered, "take"))
				require.Zero(t, p.seen.Counts().Reused)
				checkStats(t, c)
			})
		})
	}
}

// One fetch that hangs keeps only those waiting who came before it was late.
func TestLateFetchKeepsNobodyElseWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.cache(t)
		f.shelf.slow("take", 2*time.Second)
		_, slowest := dials(t, p, c.NewScope(), 1)
		require.Zero(t, slowest, "it is not stored")
		conn := p.bound(t, c.Scope("tenant"), false)
		conn.NetConn().Close()
		synctest.Wait() // the deadlines of handshake and fetch are the same moment
		for range 3 {
			began := time.Now()
			conn := p.bound(t, c.Scope("tenant"), false)
			conn.NetConn().Close()
			require.Zero(t, time.Since(began))
		}
		require.EqualValues(t, 3, c.Stats().Suspended)
		time.Sleep(2 * time.Second) // until the fetch has ended
	})
}

// Writes are suspended apart from takes: a full store can still hand out.
func TestFullStoreStillHandsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a, b := f.cache(t), f.cache(t)
		p.stock(t, a.Scope("tenant"), 8)
		flush(t, a)
		f.shelf.full = true
		resumed, _ := dials(t, p, b.Scope("tenant"), 8)
		require.Equal(t, 8, resumed)
		require.Equal(t, 1, f.count(StoreSuspended, "put"))
		require.Zero(t, b.Stats().Suspended)
		before := f.shelf.tried
		require.Error(t, b.Flush(t.Context()), "it tries, whatever failed before")
		require.Greater(t, f.shelf.tried, before)
		f.shelf.full = false
		require.NoError(t, b.Flush(t.Context()))
		require.Equal(t, 1, f.count(StoreRecovered, "put"))
	})
}

// A signalling shelf says when it has been taken from.
type signalling struct {
	*shelf
	taken chan struct{}
}

func (s signalling) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	defer func() { s.taken <- struct{}{} }()
	return s.shelf.Take(ctx, key, max)
}

// The store's round trip and the network's run side by side.
func TestDialerAsksTheStoreWhileItConnects(t *testing.T) {
	p, f := newPeer(t), newFleet()
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: p.server}))
	defer server.Close()
	store := signalling{f.shelf, make(chan struct{}, 1)}
	var asked bool
	for range 2 {
		c := &ClientCache{Store: Seal(store, f.keys)}
		dialer := &Dialer{Scope: c.Scope("tenant"), Config: p.client, NetDialer: &net.Dialer{
			Control: func(string, string, syscall.RawConn) error { // before it connects
				<-store.taken
				asked = true
				return nil
			},
		}}
		conn, err := dialer.Dial("tcp", server.Addr)
		require.NoError(t, err)
		require.True(t, asked)
		require.Equal(t, f.shelf.taken() > 1, conn.ConnectionState().DidResume)
		exchange(t, conn)
		require.NoError(t, conn.Close())
		require.NoError(t, c.Close())
	}
	require.Equal(t, 2, f.shelf.taken(), "once for each")
	require.Equal(t, tlstest.Counts{Connections: 2, Offered: 1}, p.seen.Counts())
}

func (f *fleet) count(kind EventKind, reason string) (n int) {
	synctest.Wait() // they are told in the background
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == kind && e.Reason == reason {
			n++
		}
	}
	return n
}

// A ticket that comes while a handshake asks the store in vain is as good as
// one from there.
func TestHandshakeUsesWhatCameWhileTheStoreHadNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		c := f.nearby(t, 4)
		unread := p.bound(t, c.Scope("tenant"), false)
		time.Sleep(time.Second) // the server is busy, and a refill found nothing
		f.shelf.slow("take", 10*time.Millisecond)
		go func() {
			time.Sleep(5 * time.Millisecond)
			exchange(t, unread)
		}()
		require.True(t, p.bound(t, c.Scope("tenant"), false).ConnectionState().DidResume)
		require.Zero(t, p.seen.Counts().Reused)
		time.Sleep(time.Second) // the refill behind it
		checkStats(t, c)
	})
}

// A server that many connections want is refilled by one of them at a time.
func TestNearTierIsRefilledOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFleet().cache(t)
		c.NearTickets = 1
		v, key, now := c.core().vault, serverKey{name: serverName}, time.Now()
		require.True(t, v.near.begin(v, key, now))
		require.False(t, v.near.begin(v, key, now), "under way")
		v.near.end(key, time.Time{})
		require.True(t, v.near.begin(v, key, now))
		v.near.end(key, now)
		require.False(t, v.near.begin(v, key, now), "the store has none")
		require.True(t, v.near.begin(v, key, now.Add(nearPause)))
		time.Sleep(2 * nearIdle) // until nobody waits for it
	})
}
