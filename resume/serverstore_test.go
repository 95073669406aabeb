package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// A row is a fleet of servers with one certificate that share a shelf.
type row struct {
	*fleet
	servers []*house
}

func newRow(t testing.TB, n int, way serverWay, change ...func(server, client *tls.Config)) *row {
	r := &row{fleet: newFleet()}
	for i := range n {
		cache := &ServerCache{Store: Seal(r.shelf, r.keys), Observe: func(e Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		}}
		if i == 0 {
			r.servers = append(r.servers, newHouse(t, cache, way, change...))
		} else {
			r.servers = append(r.servers, r.servers[0].sibling(cache, way))
		}
	}
	return r
}

func TestAStoredTLS12SessionIsPutBackUnderItsTicket(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		r := newRow(t, 3, way, tls12)
		_, first := r.servers[0].call(nil)
		label := ticketOf(t, first)
		for turn := range 9 {
			require.Equal(t, 1, r.shelf.size())
			resumed, next := r.servers[turn%3].call(retold(t, first, label))
			require.True(t, resumed, "turn %d", turn)
			require.Equal(t, label, ticketOf(t, next))
		}
		for _, server := range r.servers {
			checkServerStats(t, server.cache)
		}
	})
}

func TestParallelConnectionsShareAStoredTLS12Session(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		r := newRow(t, 1, way, tls12)
		h := r.servers[0]
		_, first := h.call(nil)
		label := ticketOf(t, first)
		for range 5 {
			var all sync.WaitGroup
			for range 8 {
				conn := h.dial(&offer{held: retold(t, first, label)})
				all.Go(func() {
					if assert.NoError(t, conn.Handshake()) {
						assert.True(t, conn.ConnectionState().DidResume)
					}
				})
			}
			all.Wait()
		}
		checkServerStats(t, h.cache)
	})
}

func TestAStoredTLS12SessionIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 2, byListener, tls12)
		h := r.servers[0]
		_, first := h.call(nil)
		label := ticketOf(t, first)
		other := r.servers[1]
		resumed, _ := other.call(retold(t, first, label))
		require.True(t, resumed)
		s := other.cache.Get0Session(other.accepted())
		require.Equal(t, Resumable, s.Status())
		require.True(t, other.cache.Remove(s))
		require.Zero(t, r.shelf.size())
		resumed, _ = h.call(retold(t, first, label))
		require.False(t, resumed)

		// And one that is just being resumed.
		cs := tls.ConnectionState{Version: tls.VersionTLS12, ServerName: serverName}
		v := h.cache.core().view(h.base)
		label = ticketOf(t, second(h.call(nil)))
		link := &serverLink{core: h.cache.core()}
		link.wire = serverWire{Conn: deadConn{Conn: new(net.TCPConn)}, link: link}
		state := v.unwrap(link, label, &cs)
		require.NotNil(t, state)
		require.True(t, h.cache.Remove(link.used.borrow()))
		before := r.shelf.size()
		cs.DidResume = true
		require.NotEqual(t, label, v.wrap(link, &cs, state))
		require.Equal(t, before, r.shelf.size())
	})
}

func second[A, B any](_ A, b B) B { return b }

func TestAStoredTLS12SessionMovesToTheNewKey(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		r := newRow(t, 1, way, tls12)
		h := r.servers[0]
		_, first := h.call(nil)
		require.NoError(t, r.keys.Set([32]byte{2}, [32]byte{1}))
		label := ticketOf(t, first)
		resumed, next := h.call(first)
		require.True(t, resumed)
		require.NotEqual(t, label, ticketOf(t, next))
		require.Equal(t, 1, r.shelf.size())
		require.NoError(t, r.keys.Set([32]byte{2}))
		resumed, _ = h.call(next)
		require.True(t, resumed)
	})
}

func TestStoredSessionsResumeOnAnyServerOnce(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		r := newRow(t, 3, way)
		_, at := r.servers[0].call(nil)
		for turn := range 9 {
			require.Equal(t, 1, r.shelf.size())
			resumed, next := r.servers[turn%3].call(at)
			require.True(t, resumed, "turn %d", turn)
			at = next
		}
		resumed, next := r.servers[0].call(at)
		require.True(t, resumed)
		for _, server := range r.servers {
			resumed, _ = server.call(at)
			require.False(t, resumed, "a second time")
		}
		resumed, _ = r.servers[1].call(next)
		require.True(t, resumed)
		var sum Stats
		for _, server := range r.servers {
			st := checkServerStats(t, server.cache)
			sum.Used += st.Used
			sum.Fetched += st.Fetched
			sum.Stored += st.Stored
			sum.Captured += st.Captured
			require.Zero(t, st.Pooled)
		}
		require.EqualValues(t, 11, sum.Used)
		require.EqualValues(t, 11, sum.Fetched)
		require.EqualValues(t, 15, sum.Captured)
		require.EqualValues(t, 15, sum.Stored, "moved there; who takes them counts the rest")
	})
}

func TestOneOfAFleetsServersAcceptsATicketThatAllAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 4, byListener)
		for range 10 {
			_, first := r.servers[0].call(nil)
			label := ticketOf(t, first)
			var resumed atomic.Int32
			var all sync.WaitGroup
			for i := range 16 {
				conn := r.servers[i%4].dial(&offer{held: retold(t, first, label)})
				all.Go(func() {
					if assert.NoError(t, conn.Handshake()) && conn.ConnectionState().DidResume {
						resumed.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, resumed.Load())
		}
	})
}

func TestChainsAreBoundedAcrossServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 2, byListener)
		_, at := r.servers[0].call(nil)
		first := r.servers[0].cache.Get0Session(r.servers[0].accepted()).Info().FullHandshake
		for turn := 1; turn < 5; turn++ {
			server := r.servers[turn%2]
			_, at = server.call(at)
			info := server.cache.Get0Session(server.accepted()).Info()
			require.Equal(t, turn, info.Resumptions)
			require.WithinDuration(t, first, info.FullHandshake, time.Millisecond)
		}
	})
}

// What the store does, a handshake ends and the server goes on.
func TestABadStoreCostsFullHandshakesAndNothingElse(t *testing.T) {
	down := errors.New("down")
	for name, c := range map[string]struct {
		spoil   func(*shelf)
		reasons []string
		own     bool // sessions stay with the server that made them
	}{
		"down": {func(s *shelf) { s.fail(down) }, []string{"take", "put", "put"}, true},
		"slow": {func(s *shelf) {
			s.slow("take", time.Hour)
			s.slow("put", time.Hour)
		}, []string{"slow", "slow"}, true},
		"corrupt": {func(s *shelf) {
			for _, stack := range s.stacks {
				for i := range stack {
					stack[i].Value[len(stack[i].Value)/2] ^= 1
				}
			}
		}, []string{"unreadable"}, true},
		"empty": {func(s *shelf) { s.Clear(context.Background()) }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRow(t, 1, byListener)
				h := r.servers[0]
				_, first := h.call(nil)
				c.spoil(r.shelf)
				began := time.Now()
				resumed, next := h.call(first)
				require.False(t, resumed)
				require.LessOrEqual(t, time.Since(began), takeDeadline)
				began = time.Now()
				resumed, _ = h.call(next)
				require.Equal(t, c.own, resumed)
				require.LessOrEqual(t, time.Since(began), takeDeadline)
				require.Equal(t, c.reasons, r.failures())
				checkServerStats(t, h.cache)
				time.Sleep(2 * time.Hour) // what hangs comes back
			})
		})
	}
}

func TestNobodyWaitsForAStoreThatWasJustTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		h := r.servers[0]
		r.shelf.slow("put", 10*time.Second)
		for range maxLateCalls {
			began := time.Now()
			h.call(nil)
			require.Equal(t, takeDeadline, time.Since(began))
		}
		began := time.Now()
		for range 20 {
			h.call(nil)
		}
		require.Zero(t, time.Since(began))
		r.shelf.slow("put", 0)
		time.Sleep(storePause + time.Second)
		before := r.shelf.size()
		h.call(nil)
		require.Equal(t, before+1, r.shelf.size(), "it is asked again")
		time.Sleep(time.Minute)
	})
}

// A pause ends though the wall clock was set back by an hour meanwhile. (Times
// in a bubble have no other reading than that clock's.)
func TestAPauseGoesByTheClockThatIsNeverSet(t *testing.T) {
	r := newRow(t, 1, byListener)
	until := time.Now()
	*(*uint64)(unsafe.Pointer(&until)) += uint64(time.Hour/time.Second) << 30 // its seconds by the wall clock
	require.Negative(t, time.Until(until))
	require.Equal(t, time.Hour, time.Until(until.Round(0)).Round(time.Hour))
	r.servers[0].cache.core().store.paused.Store(&until)
	r.servers[0].call(nil)
	require.Equal(t, 1, r.shelf.size())
}

// A quick Put does not make up for a slow Take, as most handshakes make both.
// While nobody waits, sessions stay in memory, and resume there.
func TestNobodyWaitsForAStoreThatIsTooSlowToTakeFrom(t *testing.T) {
	inBothWays(t, func(t *testing.T, way serverWay) {
		r := newRow(t, 1, way)
		h := r.servers[0]
		var stored []*tls.ClientSessionState
		for range maxLateCalls {
			stored = append(stored, second(h.call(nil)))
		}
		r.shelf.slow("take", 10*time.Second)
		for _, at := range stored {
			began := time.Now()
			resumed, _ := h.call(at)
			require.False(t, resumed)
			require.NotZero(t, time.Since(began))
		}
		began := time.Now()
		_, at := h.call(nil)
		for range 20 {
			var resumed bool
			resumed, at = h.call(at)
			require.True(t, resumed)
		}
		require.Zero(t, time.Since(began))
		time.Sleep(time.Minute)
	})
}

func TestAHandshakeThatIsNotKnownWaitsNoLongerEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, serverWays[0])
		_, first := r.servers[0].call(nil)
		r.shelf.slow("take", time.Second)
		r.shelf.slow("put", time.Second)
		began := time.Now()
		resumed, _ := r.servers[0].call(first)
		require.False(t, resumed)
		require.Equal(t, takeDeadline, time.Since(began))
		time.Sleep(time.Minute)
	})
}

func TestAHandshakeWaitsForTheStoreOnceInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		h := r.servers[0]
		_, first := h.call(nil)
		r.shelf.slow("take", 40*time.Millisecond)
		r.shelf.slow("put", 40*time.Millisecond)
		began := time.Now()
		resumed, next := h.call(first)
		require.True(t, resumed)
		require.Equal(t, takeDeadline, time.Since(began), "40 ms for the take, the rest for the put")
		resumed, _ = h.call(next)
		require.True(t, resumed, "it stayed in memory")
		time.Sleep(time.Minute)
	})
}

// A crowded store counts how many calls run at a time.
type crowded struct {
	*shelf
	mu        sync.Mutex // guards the rest
	now, most int
}

func (c *crowded) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	c.enter(1)
	defer c.enter(-1)
	time.Sleep(time.Hour) // whatever ctx says
	return c.shelf.Take(ctx, key, max)
}

func (c *crowded) enter(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += n
	c.most = max(c.most, c.now)
}

func TestTheStoreIsCalledByABoundedNumberAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		full := &crowded{shelf: f.shelf}
		server := &ServerCache{Store: Seal(full, f.keys)}
		store := server.core().store
		var all sync.WaitGroup
		for range 4 * maxStoreCalls {
			all.Go(func() {
				_, err := store.call(nil, "", "take", func(ctx context.Context) ([]cache.Entry, error) {
					return full.Take(ctx, "key", 1)
				})
				assert.Error(t, err)
			})
		}
		all.Wait()
		require.Equal(t, maxStoreCalls, full.most)
		time.Sleep(2 * time.Hour)
	})
}

func TestRevokingWaitsForTheStoresWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 2, byListener)
		h := r.servers[0]
		_, first := h.call(nil)
		s := h.cache.Get1Session(h.accepted())
		defer s.Release()
		r.shelf.fail(errors.New("down"))
		require.False(t, h.cache.Remove(s))
		require.Equal(t, Resumable, s.Status(), "nobody knows")
		r.shelf.fail(nil)
		resumed, next := r.servers[1].call(first)
		require.True(t, resumed)
		require.False(t, h.cache.Remove(s), "used elsewhere")
		require.Equal(t, Used, s.Status())

		other := r.servers[1].cache.Get1Session(r.servers[1].accepted())
		defer other.Release()
		var removed atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if r.servers[1].cache.Remove(other) {
					removed.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, removed.Load())
		require.Equal(t, Removed, other.Status())
		resumed, _ = h.call(next)
		require.False(t, resumed)
	})
}

// A held store answers a Delete when it is told to.
type held struct {
	*shelf
	deleted, answer chan struct{}
}

func (h *held) Delete(ctx context.Context, key, id string) (bool, error) {
	ok, err := h.shelf.Delete(ctx, key, id)
	h.deleted <- struct{}{}
	<-h.answer
	return ok, err
}

// The second who revokes must not take the first one's Delete for a use.
func TestOfTwoWhoRevokeOneAsksTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &held{newShelf(), make(chan struct{}, 2), make(chan struct{})}
		cache := &ServerCache{Store: Seal(store, newFleet().keys)}
		h := newHouse(t, cache, byListener)
		h.call(nil)
		s := cache.Get1Session(h.accepted())
		defer s.Release()
		first, second := make(chan bool, 1), make(chan bool, 1)
		go func() { first <- cache.Remove(s) }()
		<-store.deleted
		go func() { second <- cache.Remove(s) }()
		synctest.Wait()
		close(store.answer)
		require.True(t, <-first)
		require.False(t, <-second)
		require.Equal(t, Removed, s.Status())
		require.Empty(t, store.deleted)
	})
}

func TestAFleetsKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		h := r.servers[0]
		_, early := h.call(nil)
		require.NoError(t, r.keys.Set([32]byte{2}, [32]byte{1}))
		resumed, late := h.call(early)
		require.True(t, resumed)
		require.NoError(t, r.keys.Set([32]byte{2}))
		resumed, late = h.call(late)
		require.True(t, resumed)
		require.NoError(t, r.keys.Set([32]byte{3}))
		resumed, late = h.call(late)
		require.False(t, resumed)
		resumed, _ = h.call(late)
		require.True(t, resumed)
	})
}

// A store is told neither whose the sessions are nor what resumes them.
func TestAServersStoreSeesSealedBytesAndNoNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		_, at := r.servers[0].call(nil)
		label := ticketOf(t, at)
		for key, stack := range r.shelf.stacks {
			for _, e := range stack {
				for _, text := range []string{key, e.ID, string(e.Value)} {
					require.NotContains(t, text, serverName)
					require.NotContains(t, text, string(label[:8]))
				}
				require.WithinDuration(t, time.Now().Add(day), e.Expires, time.Minute)
			}
		}
	})
}

func TestClientsAndServersMayShareAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRow(t, 1, byListener)
		client := &ClientCache{Store: Seal(r.shelf, r.keys)}
		defer client.Close()
		h := r.servers[0]
		scope := client.Scope("both")
		for turn := range 3 {
			conn := scope.NewConn(h.raw(), h.client)
			exchange(t, conn)
			require.Equal(t, turn > 0, conn.ConnectionState().DidResume)
			require.NoError(t, conn.Close())
			flush(t, client)
		}
		require.Equal(t, 2, r.shelf.size())
	})
}
