package scenarios_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// What OpenSSL's server gives and takes, which the callbacks must say.
type toll struct {
	name          string
	args          []string
	fresh         int // sessions that a full handshake brings
	again, usedUp int // that a resumption brings, and uses up
}

var tolls = []toll{
	{name: "TLS 1.3", fresh: 2, again: 1, usedUp: 1},
	{name: "TLS 1.2", args: []string{"-tls1_2"}, fresh: 1},
}

// requireSeen holds what the server saw of resumptions of the first session:
// TLS 1.2 offers it each time, TLS 1.3 a new one.
func (k toll) requireSeen(t *testing.T, p *peer, resumptions int) {
	t.Helper()
	counts := p.seen.Counts()
	require.Equal(t, resumptions, counts.Offered)
	if k.usedUp == 0 {
		require.Equal(t, resumptions-1, counts.Reused)
	} else {
		require.Zero(t, counts.Reused)
	}
}

// test_session_with_only_int_cache: no callback is set, and the cache does it
// all.
func TestTheCacheResumesWithoutCallbacks(t *testing.T) {
	for _, k := range tolls {
		t.Run(k.name, func(t *testing.T) {
			p := newOpenSSL(t, k.args...)
			c := checkBooks(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			require.False(t, p.visit(t, d))
			const turns = 3
			for range turns {
				require.True(t, p.visit(t, d))
			}
			k.requireSeen(t, p, turns)
			require.EqualValues(t, k.fresh+turns*k.again, c.Stats().Captured)
			require.EqualValues(t, turns*k.usedUp, c.Stats().Used)
		})
	}
}

// test_session_with_only_ext_cache: the program keeps what NewSession gave it
// and says what to resume with. There is no switch that turns our own cache
// off, as SSL_SESS_CACHE_NO_INTERNAL_STORE does; the program here takes the
// first session, and the cache, newest first, would take the last.
func TestAProgramResumesWithWhatNewSessionGaveIt(t *testing.T) {
	for _, k := range tolls {
		t.Run(k.name, func(t *testing.T) {
			p := newOpenSSL(t, k.args...)
			c, heard := listen(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			require.False(t, p.visit(t, d))
			heard.requireCalls(t, k.fresh, 0)
			mine := heard.sessions()[0]

			require.True(t, p.visit(t, exactly(d, mine)))
			heard.requireCalls(t, k.again, k.usedUp)
			if k.usedUp == 0 {
				require.True(t, p.visit(t, exactly(d, mine)), "TLS 1.2 sessions are used again")
				heard.requireCalls(t, k.again, 0)
				k.requireSeen(t, p, 2)
				return
			}
			require.Equal(t, []string{"Used: used"}, heard.ended())
			p.refuses(t, d, mine, resume.Used)
			k.requireSeen(t, p, 1)
		})
	}
}

// test_session_with_both_cache: the callbacks follow what the cache does.
func TestCallbacksCountWhatTheCacheGainsAndLoses(t *testing.T) {
	for _, k := range tolls {
		t.Run(k.name, func(t *testing.T) {
			p := newOpenSSL(t, k.args...)
			c, heard := listen(t, new(resume.ClientCache))
			d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			require.False(t, p.visit(t, d))
			heard.requireCalls(t, k.fresh, 0)

			require.True(t, p.visit(t, d))
			heard.requireCalls(t, k.again, k.usedUp)
			require.True(t, p.visit(t, d))
			heard.requireCalls(t, k.again, k.usedUp)
			k.requireSeen(t, p, 2)

			// A full handshake, which theirs is without SSL_set_session.
			other := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
			conn := p.connect(t, other)
			require.False(t, conn.ConnectionState().DidResume)
			heard.requireCalls(t, k.fresh, 0)
			last := conn.Get1Session()
			defer last.Release()
			require.NoError(t, conn.Close())
			heard.requireCalls(t, 0, 0)

			require.True(t, c.Remove(last))
			heard.requireCalls(t, 0, 1)
			require.Equal(t, resume.Removed, last.Status())
			p.refuses(t, other, last, resume.Removed)
			k.requireSeen(t, p, 2)
		})
	}
}

// A twice is a cache that is given everything twice.
type twice struct{ *resume.ClientCache }

func (c twice) Put(key string, state *tls.ClientSessionState) {
	c.ClientCache.Put(key, state)
	c.ClientCache.Put(key, state)
}

// test_session_with_both_cache, where SSL_CTX_add_session fails of a session
// that the cache has already. Ours says so in an event, and can tell even when
// the session has left the cache: it was used then.
func TestASessionIsNotAddedTwice(t *testing.T) {
	p := newGo(t)
	c, heard := listen(t, new(resume.ClientCache))
	var refused []string
	c.Observe = func(e resume.Event) {
		if e.Kind == resume.TicketRefused {
			refused = append(refused, e.Reason)
		}
	}
	config := p.with(func(config *tls.Config) { config.ClientSessionCache = twice{c} })
	plain(t, p.addr, config)
	heard.requireCalls(t, 1, 0)
	require.Equal(t, []string{"put-back"}, refused)
	require.EqualValues(t, 1, c.Stats().Kept)

	state, ok := c.Get(host)
	require.True(t, ok)
	heard.requireCalls(t, 0, 1)
	c.Put(host, state)
	heard.requireCalls(t, 0, 0)
	require.Equal(t, []string{"put-back", "put-back"}, refused)
	require.Nil(t, c.Get0Session(host))
	require.False(t, plain(t, p.addr, config))
	p.requireOffered(t, 0)
}

// plain is a visit with a tls.Conn.
func plain(t testing.TB, addr string, config *tls.Config) (resumed bool) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, config)
	require.NoError(t, err)
	defer conn.Close()
	talk(t, conn)
	return conn.ConnectionState().DidResume
}

// test_session_with_both_cache, where SSL_CTX_remove_session of a session that
// is not in the cache returns 0 and calls the callback once more. We differ
// twice. A session that a bound pushed out can still be resumed by who holds
// it; Remove ends that, and says that it did. And RemoveSession has been called
// for it already: one session, one call.
func TestRemovingAnEvictedSessionEndsItWithoutASecondCall(t *testing.T) {
	first, second := newGo(t), newGo(t)
	c, heard := listen(t, &resume.ClientCache{MaxServers: 1})
	scope := c.NewScope()
	d := &resume.Dialer{Scope: scope, Config: first.client}
	require.False(t, first.visit(t, d))
	heard.requireCalls(t, 1, 0)
	held := heard.sessions()[0]
	require.False(t, second.visit(t, &resume.Dialer{Scope: scope, Config: second.client}))
	heard.requireCalls(t, 1, 1)
	require.Equal(t, []string{"Resumable: evicted"}, heard.ended())
	require.EqualValues(t, 1, c.Stats().Evicted)

	require.True(t, c.Remove(held), "it could be resumed until now")
	require.Equal(t, resume.Removed, held.Status())
	first.refuses(t, d, held, resume.Removed)
	require.False(t, c.Remove(held), "now it has ended")
	heard.requireCalls(t, 0, 0)
	require.Zero(t, c.Stats().Evicted)
	require.EqualValues(t, 1, c.Stats().Removed)
	first.requireOffered(t, 0)
}

// test_session_with_both_cache, the same for what no cache of ours has: there
// was nothing to do, and nobody to tell.
func TestRemovingWhatIsNotThereSaysSoAndCallsNobody(t *testing.T) {
	p := newGo(t)
	c, heard := listen(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: p.client}
	conn, err := d.DialContext(t.Context(), "tcp", p.addr)
	require.NoError(t, err)
	defer conn.Close()
	pending := conn.Get1Session()
	defer pending.Release()
	talk(t, conn)
	require.True(t, p.visit(t, d))
	used, kept := heard.sessions()[0], heard.sessions()[1]
	released := kept.Retain()
	released.Release()
	elsewhere := checkBooks(t, new(resume.ClientCache))
	heard.requireCalls(t, 2, 1)

	for why, removed := range map[string]bool{
		"nil":              c.Remove(nil),
		"no session":       c.Remove(new(resume.Session)),
		"no ticket yet":    c.Remove(pending),
		"used":             c.Remove(used),
		"handle released":  c.Remove(released),
		"of another cache": elsewhere.Remove(kept),
	} {
		require.False(t, removed, why)
	}
	heard.requireCalls(t, 0, 0)
	require.True(t, p.visit(t, exactly(d, kept)), "it was left alone")
	p.requireOffered(t, 2)
}
