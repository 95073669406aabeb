package resume

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A mint makes as many sessions as a test wants out of one.
type mint struct {
	t       testing.TB
	encoded []byte
	mu      sync.Mutex // guards made
	made    int
}

func newMint(t testing.TB) *mint {
	_, state, err := newPeer(t).states(t, 1)[0].ResumptionState()
	require.NoError(t, err)
	return &mint{t: t, encoded: tlstest.Must(state.Bytes())}
}

func (m *mint) session() *tls.ClientSessionState {
	m.mu.Lock()
	m.made++
	label := fmt.Appendf(nil, "ticket %d", m.made)
	m.mu.Unlock()
	state := tlstest.Must(tls.ParseSessionState(slices.Clone(m.encoded)))
	return tlstest.Must(tls.NewResumptionState(label, state))
}

// receiver makes a connection that can receive, without a peer.
func receiver(scope *Scope) *Conn {
	near, far := tlstest.Pipe()
	far.Close()
	conn := scope.NewConn(near, &tls.Config{ServerName: serverName})
	conn.name = serverName // as crypto/tls would say at its Get
	return conn
}

// A modelSession is what should be known of a session, counted by hand.
type modelSession struct {
	pooled  bool
	conn    *Conn // the connection's reference, while it is open
	holders int
	status  Status // how it ended; Resumable: it did not
	evicted bool
	expires time.Time
}

func (m *modelSession) freed() bool { return !m.pooled && m.conn == nil && m.holders == 0 }

func (m *modelSession) now() Status {
	if m.status == Resumable && !time.Now().Before(m.expires) {
		return Expired
	}
	return m.status
}

// A modelHandle is a handle and what it should say.
type modelHandle struct {
	*Session
	of       *modelSession
	counted  bool
	released bool
}

func (h *modelHandle) want() Status {
	if h.released || !h.counted && h.of.freed() {
		return Freed
	}
	return h.of.now()
}

// A world is the cache, the model of it, and whoever uses both.
type world struct {
	t        *testing.T
	random   *rand.Rand
	mint     *mint
	cache    *ClientCache
	scope    *Scope
	conns    []*Conn
	stale    map[*Conn]bool  // older than the last Clear
	sessions []*modelSession // in the order of receipt
	byID     map[string]*modelSession
	handles  []*modelHandle
	ended    map[string]int // RemoveSession by ID
}

const (
	worldConns   = 3
	worldTickets = 4
	worldAge     = time.Hour
)

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 2)), mint: newMint(t),
		stale: map[*Conn]bool{}, byID: map[string]*modelSession{}, ended: map[string]int{},
	}
	w.cache = &ClientCache{TicketsPerServer: worldTickets, MaxAge: worldAge}
	w.cache.RemoveSession = func(h *Session) { w.ended[h.Info().ID]++ }
	w.scope = w.cache.NewScope()
	for range worldConns {
		w.conns = append(w.conns, receiver(w.scope))
	}
	return w
}

func (w *world) newest(fits func(*modelSession) bool) *modelSession {
	for _, m := range slices.Backward(w.sessions) {
		if fits(m) {
			return m
		}
	}
	return nil
}

// end is how a session leaves the pool for good.
func (w *world) end(m *modelSession, status Status) {
	m.pooled = false
	if m.status == Resumable {
		m.status = status
	}
}

func (w *world) receive() {
	conn := w.conns[w.random.IntN(worldConns)]
	m := &modelSession{pooled: true, conn: conn, status: Resumable, expires: time.Now().Add(worldAge)}
	if w.stale[conn] {
		w.end(m, Removed)
	}
	conn.shim.Put(serverName, w.mint.session())
	w.byID[conn.Get0Session().Info().ID] = m
	w.sessions = append(w.sessions, m)
	var pooled []*modelSession
	for _, other := range w.sessions {
		if other.pooled {
			pooled = append(pooled, other)
		}
	}
	if len(pooled) > worldTickets {
		pooled[0].pooled, pooled[0].evicted = false, true
	}
}

func (w *world) get(counted, byServer bool) {
	conn := w.conns[w.random.IntN(worldConns)]
	var got *Session
	switch {
	case counted && byServer:
		got = w.scope.Get1Session(serverName)
	case counted:
		got = conn.Get1Session()
	case byServer:
		got = w.scope.Get0Session(serverName)
	default:
		got = conn.Get0Session()
	}
	m := w.newest(func(m *modelSession) bool { return byServer && m.pooled || !byServer && m.conn == conn })
	if m == nil {
		require.Nil(w.t, got)
		return
	}
	require.Same(w.t, m, w.byID[got.Info().ID])
	if counted {
		m.holders++
	}
	w.handles = append(w.handles, &modelHandle{Session: got, of: m, counted: counted})
}

func (w *world) retain(h *modelHandle) {
	got := &modelHandle{Session: h.Retain(), of: h.of, counted: true}
	if h.want() == Freed {
		got.released = true // nothing to give back
	} else {
		h.of.holders++
	}
	w.handles = append(w.handles, got)
}

func (w *world) release(h *modelHandle) {
	switch {
	case !h.counted:
		require.Panics(w.t, h.Release)
	case h.released && h.freed:
		h.freed = false // it may be released once, like any other
		h.Session = &Session{s: h.s, counted: true}
		h.Session.released.Store(true)
	case h.released:
		require.Panics(w.t, h.Release, "a second time")
	default:
		h.Release()
		h.released = true
		h.of.holders--
	}
}

func (w *world) remove(h *modelHandle) {
	open := h.want() == Resumable || h.want() == Expired && h.of.status == Resumable
	require.Equal(w.t, open, w.cache.Remove(h.Session), h.String())
	if open {
		w.end(h.of, Removed)
	}
}

// use makes a handshake take the newest session, and send its ticket.
func (w *world) use() {
	conn := receiver(w.scope)
	_, ok := conn.shim.Get(serverName)
	m := w.newest(func(m *modelSession) bool { return m.pooled && m.now() == Resumable })
	require.Equal(w.t, m != nil, ok)
	if m == nil {
		w.expire() // all of them were met on the way
	}
	if m != nil {
		conn.lease.offered = true
		w.end(m, Used)
	}
	conn.settle(context.Canceled)
	conn.Close()
}

func (w *world) sweep() {
	require.Equal(w.t, w.expire(), w.cache.Sweep())
}

// expire ends what has expired in the pool.
func (w *world) expire() (n int) {
	for _, m := range w.sessions {
		if m.pooled && m.now() == Expired {
			w.end(m, Expired)
			n++
		}
	}
	return n
}

func (w *world) clear() {
	require.NoError(w.t, w.scope.Clear(w.t.Context()))
	for _, m := range w.sessions {
		// Those that are held elsewhere read Removed, too.
		w.end(m, Removed)
	}
	for _, conn := range w.conns {
		w.stale[conn] = true
	}
}

func (w *world) close() {
	i := w.random.IntN(worldConns)
	for _, m := range w.sessions {
		if m.conn == w.conns[i] {
			m.conn = nil
		}
	}
	w.conns[i].Close()
	w.conns[i] = receiver(w.scope)
}

func (w *world) step() {
	var h *modelHandle
	if len(w.handles) > 0 {
		h = w.handles[w.random.IntN(len(w.handles))]
	}
	switch op := w.random.IntN(16); {
	case op < 4:
		w.receive()
	case op < 8:
		w.get(op%2 == 0, op < 6)
	case op == 8:
		w.use()
	case op == 9:
		w.close()
	case op == 10:
		time.Sleep(worldAge / 8)
	case op == 11 && w.random.IntN(4) == 0:
		w.sweep()
	case op == 12 && w.random.IntN(8) == 0:
		w.clear()
	case h == nil:
	case op == 13:
		w.retain(h)
	case op == 14:
		w.remove(h)
	default:
		w.release(h)
	}
}

func (w *world) check() {
	out := 0
	for _, h := range w.handles {
		require.Equal(w.t, h.want(), h.Status(), h.String())
		if s := h.s; h.of.freed() || !s.verdict.Load().open() {
			require.Nil(w.t, s.state.Load(), "ticket and secret are let go")
		}
		if h.counted && !h.released {
			out++
		}
	}
	require.Equal(w.t, out, checkStats(w.t, w.cache).Handles)
	for id, n := range w.ended {
		require.Equal(w.t, 1, n, id)
	}
}

func TestReferencesAreCountedAsTheModelCounts(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed)
			w := newWorld(t, seed)
			defer func() {
				for _, conn := range w.conns {
					conn.Close()
				}
			}()
			for range 300 {
				w.step()
				w.check()
			}
		})
	}
}

// Whatever many do at once: in the end nobody has anything, and every session
// was let go.
func TestReferencesAreGivenBackUnderLoad(t *testing.T) {
	mint := newMint(t)
	c := &ClientCache{TicketsPerServer: worldTickets}
	scope := c.NewScope()
	var mu sync.Mutex // guards all
	var all []*Session
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 9))
			conn := receiver(scope)
			for range 300 {
				switch random.IntN(8) {
				case 0, 1:
					conn.shim.Put(serverName, mint.session())
					mu.Lock()
					all = append(all, conn.Get0Session())
					mu.Unlock()
				case 2, 3:
					if h := scope.Get1Session(serverName); h != nil {
						again := h.Retain()
						h.Release()
						again.Release()
					}
				case 4:
					scope.Get(serverName)
				case 5:
					c.Remove(scope.Get0Session(serverName))
				case 6:
					dialing := receiver(scope)
					dialing.shim.Get(serverName)
					dialing.settle(context.Canceled) // not sent: given back
					dialing.Close()
				case 7:
					if random.IntN(20) == 0 {
						scope.Clear(context.Background())
					}
					conn.Close()
					conn = receiver(scope)
				}
			}
			conn.Close()
		})
	}
	group.Wait()
	require.NoError(t, c.Clear(context.Background()))
	require.Zero(t, checkStats(t, c).Handles)
	require.Zero(t, c.Stats().Pooled)
	for _, h := range all {
		require.Equal(t, Freed, h.Status(), h.String())
		require.Zero(t, h.s.refs.Load())
		require.Nil(t, h.s.state.Load())
	}
}

// A handle, even a borrowed one, keeps the facts of a freed session, and not
// its ticket and secret.
func TestFreedSessionLetsGoOfTicketAndSecret(t *testing.T) {
	mint, c := newMint(t), new(ClientCache)
	var handles []*Session
	var secrets []weak.Pointer[tls.ClientSessionState]
	for _, end := range []func(*Session){
		func(*Session) { c.Get(serverName) },
		func(h *Session) { c.Remove(h) },
		func(*Session) { c.Clear(context.Background()) },
	} {
		cs := mint.session()
		c.Put(serverName, cs)
		held := c.Get1Session(serverName)
		secrets = append(secrets, weak.Make(cs))
		cs = nil
		end(held)
		handles = append(handles, held) // held: it is over all the same
	}
	for n := range secrets {
		require.Eventually(t, func() bool {
			runtime.GC()
			return secrets[n].Value() == nil
		}, 10*time.Second, time.Millisecond, handles[n])
		require.NotEmpty(t, handles[n].Info().ID)
		handles[n].Release()
		require.Equal(t, Freed, handles[n].Status())
	}
}

// Closing the raw connection underneath ends all that it brought (rule N28),
// also what crypto/tls has in its buffer: that is not captured at all.
func TestCloseTakesNoTicketFromAConnectionClosedUnderneath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := newPeer(t), new(ClientCache)
		for _, closed := range []bool{false, true} {
			conn := p.bound(t, c.NewScope(), false)
			if closed {
				conn.NetConn().Close()
			}
			conn.Close()
		}
		require.EqualValues(t, 1, checkStats(t, c).Captured, "by the one Close that came first")
	})
}

// Of several configurations the newest session is looked for in each, and of
// those that are found the others are let go of.
func TestLookingForTheNewestKeepsNoReference(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.NewScope()
	var configs []*tls.Config
	for _, version := range []uint16{0, tls.VersionTLS12, tls.VersionTLS13} {
		config := p.client.Clone()
		config.MinVersion = version
		configs = append(configs, config)
	}
	for _, config := range append(configs, configs[0]) { // the newest is the last seen, then the first
		p.client = config
		conn := p.bound(t, scope, true)
		conn.Close()
		handle := scope.Get1Session(serverName)
		require.Equal(t, c.core().serial.Load(), handle.s.serial)
		handle.Release()
	}
	c.core().pool.RemoveIf(func(_ serverKey, s *session) bool {
		require.Equal(t, int32(1), s.refs.Load(), "the pool's")
		return false
	})
}
