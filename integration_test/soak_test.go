package integration_test

import (
	"cmp"
	"crypto/tls"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

var (
	soakTime = flag.Duration("soak", 0, "how long TestSoak... makes connections (default 15s, a minute where peers are required)")
	soakSeed = flag.Uint64("soak-seed", 1, "what it chooses by")
)

const (
	soakWorkers = 8
	soakPhases  = 6 // the world stands still after each, and is looked at
)

// A soak is servers, caches and ways in, used at random.
type soak struct {
	seed    uint64
	sites   []*soakSite
	caches  []*soakCache
	entries []soakEntry
	store   *dirstore.Store
}

// A soakCache is a cache whose events are counted and not kept.
type soakCache struct {
	*resume.ClientCache
	name   string
	stores bool
	most   resume.Stats // Servers; Pooled, of a server and endpoint; Bytes
	events [16]atomic.Int64
}

func (c *soakCache) count(kind resume.EventKind) int64 { return c.events[kind].Load() }

// A soakEntry is a way into a cache for a site.
type soakEntry struct {
	entry
	cache *soakCache
	site  *soakSite
}

func newSoak(t *testing.T) *soak {
	dir, err := dirstore.Open(filepath.Join(t.TempDir(), "sessions"), dirstore.Options{})
	require.NoError(t, err)
	s := &soak{seed: *soakSeed, store: dir}
	s.openCaches(t)
	s.openSites(t)
	for _, c := range s.caches {
		for _, site := range s.sites {
			for _, w := range ways {
				s.entries = append(s.entries, soakEntry{w.open(c.ClientCache, site.client), c, site})
			}
		}
	}
	return s
}

func (s *soak) openCaches(t *testing.T) {
	small := &resume.ClientCache{MaxServers: 6, TicketsPerServer: 4, MaxBytes: 10 << 10}
	s.caches = []*soakCache{
		{name: "memory", ClientCache: new(resume.ClientCache), most: resume.Stats{Servers: 1024, Pooled: 64, Bytes: 64 << 20}},
		{name: "small", ClientCache: small, most: resume.Stats{Servers: 6, Pooled: 4, Bytes: 10 << 10}},
	}
	keys, err := ticket.NewKeyring([32]byte{1, 2, 3})
	require.NoError(t, err)
	for _, name := range []string{"stored", "stored too"} {
		c := &resume.ClientCache{Store: resume.Seal(s.store, keys)}
		s.caches = append(s.caches, &soakCache{name: name, ClientCache: c, stores: true, most: s.caches[0].most})
	}
	for _, c := range s.caches {
		newCache(t, c.ClientCache)
		t.Cleanup(func() { c.Close() })
		c.Observe = func(e resume.Event) { c.events[e.Kind].Add(1) }
	}
}

// A long run of mixed servers, scopes, ways in and failures.
func TestSoakKeepsItsBoundsAndItsBooks(t *testing.T) {
	descriptorCheck(t)
	leakCheck(t)
	s := newSoak(t)
	length := cmp.Or(*soakTime, 15*time.Second)
	if *soakTime == 0 && os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
		length = time.Minute
	}
	t.Logf("to see it again: -soak=%v -soak-seed=%d", length, s.seed)
	if testing.Short() {
		length = min(length, 2*time.Second)
	}
	var heaps [soakPhases]footprint
	for phase := range soakPhases {
		s.phase(phase, length/soakPhases)
		for _, c := range s.caches {
			c.requireQuiet(t)
		}
		heaps[phase] = s.footprint()
	}
	s.report(t)
	for _, site := range s.sites {
		site.requireAddsUp(t)
	}
	s.requireWireAddsUp(t)
	s.requireStoreAddsUp(t)
	requireNoGrowth(t, heaps)
}

// phase lets the workers choose for some time.
func (s *soak) phase(phase int, length time.Duration) {
	var all sync.WaitGroup
	end := time.Now().Add(length)
	for worker := range soakWorkers {
		random := rand.New(rand.NewPCG(s.seed, uint64(phase*soakWorkers+worker)))
		all.Go(func() {
			for time.Now().Before(end) {
				s.act(random)
			}
		})
	}
	all.Wait()
}

// requireQuiet holds the bounds, which are exact when no call is under way, and
// that what is kept is in the pool: no connection has a session any more.
func (c *soakCache) requireQuiet(t *testing.T) {
	t.Helper()
	require.NoError(t, c.Flush(t.Context()))
	st := c.Stats()
	const endpoints = 3 // two servers of one name, and an unknown one
	require.LessOrEqual(t, st.Servers, c.most.Servers, c.name)
	require.LessOrEqual(t, st.Pooled, st.Servers*c.most.Pooled*endpoints, c.name)
	require.LessOrEqual(t, st.Bytes, c.most.Bytes, c.name)
	require.EqualValues(t, st.Captured+st.Fetched, st.Used+st.Expired+st.Evicted+st.Removed+st.Failed+st.Kept+st.Stored, c.name)
	require.EqualValues(t, st.Pooled, st.Kept, "%s: %v", c.name, st)
	require.Zero(t, st.Handles, c.name)
	for _, row := range []struct {
		counted uint64
		heard   int64
		what    string
	}{
		{st.Captured, c.count(resume.TicketCaptured), "captured"},
		{st.Missed, c.count(resume.SessionMissing), "missed"},
		{st.Full + st.Resumed, c.count(resume.HandshakeDone), "handshakes"},
	} {
		require.EqualValues(t, row.counted, row.heard, "%s: %s", c.name, row.what)
	}
	if !c.stores {
		ended := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed
		require.EqualValues(t, ended, c.count(resume.SessionEnded), "%s: each end is told of once", c.name)
		require.EqualValues(t, st.Back, c.count(resume.SessionReturned), c.name)
		require.Zero(t, st.Stored+st.Fetched+st.StoreErrors, c.name)
	}
	require.Zero(t, st.Unreadable, c.name)
}

// requireWireAddsUp holds that no ticket was seen twice, at any server or on
// any wire, and that none was seen that no cache counts as used.
func (s *soak) requireWireAddsUp(t *testing.T) {
	t.Helper()
	offered, used := 0, 0
	for _, site := range s.sites {
		if site.version == tls.VersionTLS12 {
			continue // its sessions are used again
		}
		requireNoReuse(t, site.seen)
		for _, proxy := range site.proxies {
			offered += requireNoReuse(t, proxy.Identities).Offered
		}
	}
	for _, c := range s.caches {
		used += int(c.Stats().Used)
	}
	assert.LessOrEqual(t, offered, used)
	// What was used and not seen came to a proxy that refused the connection
	// or was in a ClientHello that was given up before it was sent.
	assert.GreaterOrEqual(t, 100*offered, 90*used)
}

// requireStoreAddsUp holds that what went into the store came out once, or is
// still there, and that all that came out is in the books.
func (s *soak) requireStoreAddsUp(t *testing.T) {
	t.Helper()
	fetched := uint64(0)
	for _, c := range s.caches {
		if c.stores {
			require.NoError(t, c.Close())
			fetched += c.Stats().Fetched
		}
	}
	left := uint64(0)
	for _, err := range s.store.List(t.Context()) {
		require.NoError(t, err)
		left++
	}
	st := s.store.Stats()
	t.Logf("store: %d left of %+v", left, st)
	assert.Positive(t, st.Taken)
	assert.Equal(t, st.Taken, fetched)
	assert.Equal(t, st.Put, st.Taken+st.Deleted+st.Evicted+st.Replaced+left, "TLS 1.2 sessions pile up, and are put back")
	assert.Zero(t, st.Expired+st.Damaged+st.Foreign+st.Unreadable)
}

// A footprint is what is reachable, and what accounts for it.
type footprint struct {
	heap    int64
	pooled  int64 // bytes that the caches say they hold
	tickets int64 // that the test remembers
}

func (s *soak) footprint() (f footprint) {
	runtime.GC()
	runtime.GC() // what finalizers and pools kept over the first
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	f.heap = int64(stats.HeapAlloc)
	for _, c := range s.caches {
		f.pooled += c.Stats().Bytes
	}
	for _, site := range s.sites {
		f.tickets += int64(site.seen.Counts().Offered)
		for _, proxy := range site.proxies {
			f.tickets += int64(proxy.Identities.Counts().Offered)
		}
	}
	return f
}

// requireNoGrowth holds that the second half left no more behind than the
// caches own up to and the test itself remembers.
func requireNoGrowth(t *testing.T, all [soakPhases]footprint) {
	t.Helper()
	const (
		perTicket = 128       // a hash and a number, in a map that is half empty
		margin    = 512 << 10 // buffers, and growth of maps by doubling
	)
	t.Logf("after each phase {heap, pooled, tickets}: %v", all)
	middle, end := all[soakPhases/2-1], all[soakPhases-1]
	grown := end.heap - middle.heap
	assert.Less(t, grown, max(0, end.pooled-middle.pooled)+perTicket*(end.tickets-middle.tickets)+margin)
}

// report says what happened.
func (s *soak) report(t *testing.T) {
	var resumed, struck int64
	for _, site := range s.sites {
		t.Log(site)
		resumed, struck = resumed+site.clients.resumed.Load(), struck+site.struck.Load()
	}
	assert.Positive(t, resumed)
	assert.Positive(t, struck)
	for _, c := range s.caches {
		t.Logf("%-10s %v", c.name, c.Stats())
	}
}

// errUnresumed is what a server says that does not like to resume.
var errUnresumed = errors.New("not today")
