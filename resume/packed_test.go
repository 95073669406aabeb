package resume

import (
	"crypto/tls"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/ticket"
)

// A cache has a session for each ticket: it fits the allocator's class of 160
// bytes.
func TestSessionIsSmall(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(session{}), uintptr(160))
}

// Whatever is known of a session is what Info returns, also what few have.
func TestInfoIsWhatWasNoted(t *testing.T) {
	c := new(ClientCache).core()
	random := rand.New(rand.NewPCG(1, 2))
	maybe := func(s string) string {
		if random.IntN(2) == 0 {
			return ""
		}
		return s
	}
	at := func() time.Time {
		if random.IntN(4) == 0 {
			return time.Time{}
		}
		return time.Unix(random.Int64N(1<<33), random.Int64N(1e9))
	}
	ends := []time.Time{
		{}, time.Unix(0, 0).UTC(), time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, Section 4.1.2.5: no well-defined end
	}
	keys := []string{"", "example.com", "example.com:443", "192.0.2.1:443", "[2001:db8::1]:443"}
	for range 2000 {
		want := ticket.Info{
			ServerName: maybe("example.com"), Endpoint: maybe("192.0.2.1:443"),
			Version: uint16(tls.VersionTLS10 + random.IntN(4)), CipherSuite: uint16(random.IntN(1 << 16)),
			ALPN: maybe("h2"), Received: at(), Expires: at(), FullHandshake: at(),
			Resumptions: random.IntN(3), LeafNotAfter: ends[random.IntN(len(ends))],
			ClientLeaf: maybe(strings.Repeat("ab", 32)), EarlyData: random.IntN(2) == 0,
			ExtendedMasterSecret: random.IntN(2) == 0, Client: random.IntN(2) == 0,
			Certificates: random.IntN(600), Size: random.IntN(1 << 20),
		}
		s := c.newSession(c.plain.key(keys[random.IntN(len(keys))]), live)
		if label := maybe("a ticket"); label != "" {
			s.name([]byte(label))
			want.ID = "cc17bef09b291e93" // of its SHA-256
		}
		s.pack(&want, overLeaf)
		require.Equal(t, want, s.info())
		require.Equal(t, overLeaf, s.over)
	}
}

// Of two clocks the one that says older counts, and only between two times that
// have it.
func TestAgeIsByTheClockThatSaysOlder(t *testing.T) {
	c := new(ClientCache).core()
	s := c.newSession(c.plain.key("example.com"), live)
	received := time.Now()
	life := time.Hour
	note := func(received time.Time) {
		s.pack(&ticket.Info{Received: received, Expires: received.Round(0).Add(life)}, overMaxAge)
	}
	note(received)
	require.Equal(t, none, s.lapsed(received.Add(life-1)))
	require.Equal(t, overMaxAge, s.lapsed(received.Add(life)), "both")
	require.Equal(t, overMaxAge, s.lapsed(received.Round(0).Add(life)), "the wall clock, alone")
	s.received += int64(life) // it was set back since then
	s.expires += int64(life)
	require.Equal(t, overMaxAge, s.lapsed(received.Add(life)), "the steady clock")
	require.Equal(t, clockBack, s.lapsed(received.Add(life-clockSlack-1)))
	note(received.Round(0))
	require.Equal(t, none, s.lapsed(received.Add(life-1)), "one that was stored has no steady clock")
	require.Equal(t, overMaxAge, s.lapsed(received.Add(life)))
}

// A certificate that never ends, or has long ended, makes no session that lasts
// otherwise than it should (RFC 5280, Section 4.1.2.5).
func TestFarOffEndsAreNoSoonerAndNoLater(t *testing.T) {
	c := new(ClientCache).core()
	received := time.Unix(time.Now().Unix(), 900e6)
	for leaf, want := range map[time.Time]verdict{
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC): none,
		time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC):      none,
		time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC):      overLeaf,
		time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC):         overLeaf,
	} {
		s := c.newSession(c.plain.key("example.com"), live)
		info := ticket.Info{Version: tls.VersionTLS13, Received: received, LeafNotAfter: leaf}
		s.setInfo(&info, &origin{key: s.key, facts: facts{fullHandshake: received.UnixNano()}}, received)
		require.Equal(t, want, s.lapsed(received.Add(time.Hour)), leaf)
		if want == none {
			require.Equal(t, overMaxAge, s.over)
			require.Equal(t, received.Add(maxTicketAge).UnixNano(), s.expires)
		}
	}
}

// crypto/tls counts the lifetime in whole seconds: what is received late in one
// ends as late in another, not later.
func TestLifetimeEndsWithItsSecond(t *testing.T) {
	c := new(ClientCache).core()
	second := time.Unix(time.Now().Unix(), 0)
	received := second.Add(900 * time.Millisecond)
	s := c.newSession(c.plain.key("example.com"), live)
	info := ticket.Info{Version: tls.VersionTLS13, Received: second, Expires: second.Add(time.Minute)}
	s.setInfo(&info, &origin{key: s.key, facts: facts{fullHandshake: received.UnixNano()}}, received)
	require.True(t, second.Add(time.Minute).Equal(timeOf(s.expires)))
}

// What a layer has in the array of its entries is not written over.
func TestTheMarkTakesNoRoomOfOthers(t *testing.T) {
	array := [][]byte{[]byte("one"), []byte("another's")}
	state := &tls.SessionState{Extra: array[:1]}
	mark(state)
	require.True(t, marked(state))
	require.Equal(t, "another's", string(array[1]))
	bare := new(tls.SessionState)
	mark(bare)
	bare.Extra = append(bare.Extra, []byte("mine"))
	require.Len(t, onlyMark, 1)
	require.Equal(t, len(onlyMark), cap(onlyMark), "to append makes a copy")
}

// The keys of a scope are unique handles; they hold on to it no longer than it
// is used.
func TestScopeThatIsGoneIsNotKept(t *testing.T) {
	c := new(ClientCache)
	gone := func() weak.Pointer[domain] {
		p := newPeer(t)
		scope := c.NewScope()
		_, err := p.dial(t, scope)
		require.NoError(t, err)
		p.plain(t, scope.TLSConfig(p.client))
		require.NoError(t, scope.Clear(t.Context()))
		return weak.Make(scope.domain)
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		return gone.Value() == nil
	}, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(c)
}

// What was taken for a handshake and not sent regains its place: tickets go the
// newest first.
func TestSessionGivenBackRegainsItsPlace(t *testing.T) {
	p, scope := newPeer(t), new(ClientCache).NewScope()
	p.stock(t, scope, 2)
	c, view := scope.domain.core, scope.domain.view(p.client)
	q := &search{key: serverKey{space: view.space, name: serverName}, view: view, now: time.Now()}
	var newest, older lease
	for _, l := range []*lease{&newest, &older} {
		_, ok := c.take(l, q, true)
		require.True(t, ok)
	}
	first := newest.s
	c.settle(&newest, false)
	c.settle(&older, false)
	require.Same(t, first, scope.Get0Session(serverName).s)
}

// By a clock of the configuration that is ahead, crypto/tls would refuse a
// session, which stays for those whose clock is not.
func TestConfigurationsClockIsAsked(t *testing.T) {
	p, scope := newPeer(t), new(ClientCache).NewScope()
	p.stock(t, scope, 1)
	s := scope.Get0Session(serverName).s
	i := s.info()
	require.Equal(t, none, s.overBy(i.LeafNotAfter))
	require.Equal(t, overLeaf, s.overBy(i.LeafNotAfter.Add(1)))
	require.Equal(t, overLifetime, s.overBy(i.Received.Add(maxTicketAge+time.Second)), "whichever; the lifetime first")
}
