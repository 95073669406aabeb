package resume

import (
	"context"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/ticket"
)

// Whatever the store does meanwhile: when Remove, Clear or the failure of a
// connection has ended a session, no handshake that begins later in this process
// offers it, by whatever way it might come back from the store. In a bubble the
// naps cost no time.
func TestChaosBringsNothingBackThatHasEnded(t *testing.T) {
	for round := range 40 {
		synctest.Test(t, func(t *testing.T) {
			a := &afterlife{t: t, mint: newMint(t), gone: map[string]string{}}
			a.cache = &ClientCache{
				Store:            Seal(chaotic{newShelf()}, tlstest.Must(ticket.NewKeyring([32]byte{1}))),
				TicketsPerServer: 20,
				NearTickets:      round % 2 * 6,
				NewSession:       a.hold,
			}
			a.scope = a.cache.Scope("tenant")
			var group sync.WaitGroup
			for range 6 {
				group.Go(func() {
					for range 80 {
						a.step()
					}
				})
			}
			group.Wait()
			a.cache.Close()
			<-time.After(maxTicketAge + time.Hour) // whatever is under way, or may still come
			checkForgotten(t, a.cache)
			checkStats(t, a.cache)
		})
	}
}

// checkForgotten fails if anything is remembered of what is over.
func checkForgotten(t testing.TB, c *ClientCache) {
	t.Helper()
	v := c.core().vault
	v.mu.Lock()
	defer v.mu.Unlock()
	require.Empty(t, v.doomed)
	require.Empty(t, v.clearing)
	require.Empty(t, v.waiting)
	require.Empty(t, v.late)
	require.Empty(t, v.putting)
}

type afterlife struct {
	t     *testing.T
	mint  *mint
	cache *ClientCache
	scope *Scope

	mu   sync.Mutex // guards the rest
	held []*Session
	gone map[string]string // by ID: what ended it
}

func (a *afterlife) hold(h *Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = append(a.held, h.Retain())
}

// ended notes that sessions have ended, before whatever begins now.
func (a *afterlife) ended(why string, all ...*Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range all {
		a.gone[h.Info().ID] = why
	}
}

// recent is one of the last, which are where most happens; or nil.
func (a *afterlife) recent() *Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.held) == 0 {
		return nil
	}
	return a.held[max(0, len(a.held)-1-rand.IntN(6))]
}

func (a *afterlife) step() {
	core := a.cache.core()
	switch op := rand.IntN(17); {
	case op < 5:
		a.scope.Put(serverName, a.mint.session())
	case op < 9:
		a.handshake()
	case op < 11:
		if fetched := core.prefetch(a.scope.key(serverName), a.scope.view); fetched != nil && op == 9 {
			<-fetched
		}
	case op < 14:
		if h := a.recent(); h != nil && h.s.retain() {
			a.end(h)
			h.s.release()
		}
	case op == 14:
		nap()
	case op == 15:
		a.cache.Flush(context.Background())
	case rand.IntN(4) == 0:
		a.mu.Lock()
		before := a.held[:len(a.held):len(a.held)]
		a.mu.Unlock()
		if a.scope.Clear(context.Background()) == nil {
			a.ended("Clear", before...)
		}
	}
}

// end ends a session, or has its connection fail.
func (a *afterlife) end(h *Session) {
	if rand.IntN(2) == 0 {
		if a.cache.Remove(h) {
			a.ended("Remove", h)
		}
		return
	}
	a.cache.core().forfeit(h.s, failedAlert)
	if h.Reason() == failedAlert.reason() { // and not leased, which ends later
		a.ended("an alert", h)
	}
}

func (a *afterlife) handshake() {
	a.mu.Lock()
	gone := maps.Clone(a.gone)
	a.mu.Unlock()
	if cs, ok := a.scope.Get(serverName); ok {
		id := ticket.ID(ticketOf(a.t, cs))
		assert.Empty(a.t, gone[hex.EncodeToString(id[:])], "%x is offered after its end", id)
	}
}
