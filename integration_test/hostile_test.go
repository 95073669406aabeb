package integration_test

import (
	"bytes"
	"crypto/tls"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A hostile is a value that another layer, a store or a bug puts into the
// cache, under the name of a server that knows nothing of it.
type hostile struct {
	why     string
	value   func(testing.TB, *site) *tls.ClientSessionState
	server  func(*tls.Config) // nil: TLS 1.3
	becomes string            // the status and reason of its session, or else:
	offered int               // tickets in the next handshake,
	resumed bool              // and how that ends,
	fails   string            // or fails
	stays   bool              // it is not used up
}

const (
	isRefused = "refused" // it is no session
	isIgnored = "ignored" // it is nothing
)

var hostiles = []hostile{
	{why: "nil, for an absent key (rule T7)", value: none, becomes: isIgnored},
	{why: "the zero value", value: zero, becomes: isRefused},
	{why: "an empty state, at which a handshake panics (rule T8)", value: empty, becomes: isRefused},
	{why: "no ticket", value: labelled(0), becomes: isRefused},

	{why: "a ticket as long as may be", value: labelled(16384), becomes: "Resumable", offered: 1},
	{why: "a ticket longer than that", value: labelled(16385), becomes: "Failed: ticket-size"},
	{why: "a ticket that fits no ClientHello", value: labelled(65000), becomes: "Failed: ticket-size"},

	{why: "a server's session", value: ofAServer, becomes: isRefused},
	{why: "one that says it is a server's", value: edited(put(2, 1)), becomes: isRefused},
	{why: "of TLS 0.0", value: edited(put(0, 0, 0)), becomes: "Resumable"},
	{why: "of SSL 2", value: edited(put(0, 2, 0)), becomes: "Failed: no-extended-master-secret"},
	{why: "of SSL 2, and shared as TLS 1.2 is", value: edited(put(0, 2, 0), masterSecret(1)), becomes: "Resumable", stays: true},
	{why: "of TLS 1.2, and it is not", value: edited(put(0, 3, 3), masterSecret(1)), becomes: "Resumable", stays: true},
	{why: "of TLS 1.4", value: edited(put(0, 3, 5)), becomes: "Resumable"},
	{why: "of the last version", value: edited(put(0, 255, 255)), becomes: "Resumable"},
	{why: "with a cipher suite nobody knows", value: edited(put(3, 255, 255)), becomes: "Resumable"},
	{why: "with a wrong secret", value: edited(put(14, 1, 2, 3, 4)), becomes: "Resumable", offered: 1,
		fails: "remote error: tls: error decrypting message"},

	{why: "received in 1970", value: edited(number(5, 0)), becomes: "Resumable", offered: 1, resumed: true},
	{why: "received at the end of time", value: edited(number(5, math.MaxUint64)), becomes: "Resumable", offered: 1, resumed: true},
	{why: "received after its end", value: edited(number(5, 1<<40)), becomes: "Expired: lifetime"},
	{why: "over since 1970", value: edited(number(-12, 0)), becomes: "Expired: lifetime"},
	{why: "good for ever", value: edited(number(-12, 1<<40)), becomes: "Resumable", offered: 1, resumed: true},
	{why: "good for longer than that", value: edited(number(-12, math.MaxInt64)), becomes: "Expired: lifetime"},
	{why: "with fields of a later Go", value: edited(appended(1000)), becomes: "Resumable", offered: 1, resumed: true},
	{why: "with early data, over TCP", value: early, becomes: "Resumable", offered: 1, resumed: true},

	{why: "of a server that nobody verified", value: unverified, becomes: "Resumable"},
	{why: "of a server that nobody trusts", value: ofAnotherCA, becomes: "Resumable"},
	{why: "of a server of another name", value: ofAnotherName, becomes: "Resumable"},

	{why: "TLS 1.2 with a wrong secret", server: onlyTLS12, value: edited(put(14, 1, 2, 3, 4)), becomes: "Resumable",
		offered: 1, fails: "local error: tls: bad record MAC"},
	{why: "TLS 1.2 without extended master secret (rule N21)", server: onlyTLS12, value: edited(masterSecret(0)),
		becomes: "Failed: no-extended-master-secret"},
	{why: "TLS 1.2 that cannot be copied", server: onlyTLS12, value: extra(tooLong), becomes: "Resumable"},
}

// Only the handshake that it is taken for can fail, and only if its secret is
// wrong and its ticket right. The one after is as good as any.
func TestAHostileValueSpoilsNoMoreThanOneHandshake(t *testing.T) {
	for _, h := range hostiles {
		for _, w := range ways[:2] { // where anybody can put
			t.Run(h.why+"/"+w.name, func(t *testing.T) { h.endured(t, w) })
		}
	}
}

func (h hostile) endured(t *testing.T, w way) {
	s := newSite(t, setup{server: h.server})
	c, heard := listen(t, new(resume.ClientCache))
	e := w.open(c, s.with(onlyP256))
	store := e.sessions.(tls.ClientSessionCache)
	value := h.value(t, s)
	before := s.Identities.Counts().Offered
	store.Put(host, value)
	require.Equal(t, h.becomes, became(c, heard))

	resumed, err := e.visit(s.Addr)
	require.Equal(t, h.offered, s.Identities.Counts().Offered-before)
	require.Equal(t, h.resumed, resumed)
	if h.fails == "" {
		require.NoError(t, err)
	} else {
		require.ErrorContains(t, err, h.fails)
		e.full(t, s.Addr)
	}
	e.resumed(t, s.Addr)
	require.Equal(t, h.stays, became(c, heard) == "Resumable")

	// And with good sessions beneath it.
	store.Put(host, h.value(t, s))
	if _, err = e.visit(s.Addr); h.fails == "" {
		require.NoError(t, err)
	}
	e.resumed(t, s.Addr)
	requireNoReuse(t, s.Identities)
}

// became says what the cache made of the first value it was given.
func became(c *resume.ClientCache, heard *heard) string {
	got := heard.got()
	switch {
	case c.Stats().Refused > 0:
		return isRefused
	case len(got) == 0:
		return isIgnored
	case got[0].Reason() == "":
		return got[0].Status().String()
	}
	return got[0].Status().String() + ": " + got[0].Reason()
}

// Rule T7: the standard LRU makes room for a nil.
func TestANilForAnAbsentKeyPushesNothingOut(t *testing.T) {
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, &resume.ClientCache{MaxServers: 1})
			e := w.open(c, s.with(onlyP256))
			store := e.sessions.(tls.ClientSessionCache)
			e.full(t, s.Addr)
			for _, absent := range []string{"absent.test", ""} {
				store.Put(absent, nil)
				state, ok := store.Get(absent)
				require.False(t, ok)
				require.Nil(t, state)
			}
			e.resumed(t, s.Addr)
			requireNoReuse(t, s.Identities)
		})
	}
}

// Any byte of a session may be wrong; of its certificates one in 16 is tried.
// Its own handshake may fail for it, the next may not.
func TestNoByteOfASessionBreaksTheHandshakeAfter(t *testing.T) {
	const head, tail, step = 52, 12, 16 // bytes before and after the certificates
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.with(onlyP256))
			store := e.sessions.(tls.ClientSessionCache)
			tried, size := 0, math.MaxInt
			for at := 0; at < size; at++ {
				if at > head && at < size-tail && at%step != 0 {
					continue
				}
				ticket, state := genuine(t, s.Addr, s.client)
				encoded, err := state.Bytes()
				require.NoError(t, err)
				size = len(encoded)
				encoded[at] ^= 1 << (at % 8)
				if state, err = tls.ParseSessionState(encoded); err != nil {
					continue
				}
				store.Put(host, tlstest.Must(tls.NewResumptionState(ticket, state)))
				tried++
				e.visit(s.Addr)
				_, err = e.visit(s.Addr)
				require.NoError(t, err, "byte %d of %d", at, size)
			}
			assert.Greater(t, tried, head, "crypto/tls reads most of them")
			e.resumed(t, s.Addr)
			requireNoReuse(t, s.Identities)
		})
	}
}

// Rule T12: what other layers keep with a session makes no difference to it,
// and they get it back.
func TestEntriesOfOtherLayersArePassedOn(t *testing.T) {
	for _, row := range []struct {
		why     string
		entries [][]byte
	}{
		{"an empty one", [][]byte{{}}},
		{"one that is not there", [][]byte{nil}},
		{"a small one between two", [][]byte{{1}, []byte("quic-go"), {2}}},
		{"many", bytes.SplitAfter(make([]byte, 10_000), []byte{0})},
		{"a large one", [][]byte{make([]byte, 1<<20)}},
		{"one too long to be encoded", [][]byte{tooLong()}},
	} {
		for _, w := range ways[:2] {
			t.Run(row.why+"/"+w.name, func(t *testing.T) {
				s := newSite(t, setup{})
				c := newCache(t, new(resume.ClientCache))
				e := w.open(c, s.with(onlyP256))
				store := e.sessions.(tls.ClientSessionCache)
				for range 2 {
					ticket, state := genuine(t, s.Addr, s.client)
					state.Extra = row.entries[:len(row.entries):len(row.entries)]
					store.Put(host, tlstest.Must(tls.NewResumptionState(ticket, state)))
				}
				require.EqualValues(t, tls.VersionTLS13, e.Get0Session(host).Info().Version)
				taken, ok := store.Get(host)
				require.True(t, ok)
				_, state, err := taken.ResumptionState()
				require.NoError(t, err)
				require.GreaterOrEqual(t, len(state.Extra), len(row.entries))
				for i, entry := range row.entries {
					require.True(t, bytes.Equal(entry, state.Extra[i]), "entry %d", i)
				}
				e.resumed(t, s.Addr)
				e.resumed(t, s.Addr)
				requireNoReuse(t, s.Identities)
			})
		}
	}
}

// They count. A session that alone is more than the bound allows does not stay
// and pushes nothing out.
func TestASessionLargerThanTheBoundGoesAlone(t *testing.T) {
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{})
			c, heard := listen(t, &resume.ClientCache{MaxBytes: 1 << 20})
			e := w.open(c, s.with(onlyP256))
			large := extra(func() []byte { return make([]byte, 1<<20) })(t, s)
			e.sessions.(tls.ClientSessionCache).Put(host, large)
			require.Equal(t, "Resumable: evicted", became(c, heard))
			e.full(t, s.Addr)

			large = extra(func() []byte { return make([]byte, 1<<20) })(t, s)
			e.sessions.(tls.ClientSessionCache).Put(host, large)
			e.resumed(t, s.Addr)
			require.EqualValues(t, 2, c.Stats().Evicted)
			requireNoReuse(t, s.Identities)
		})
	}
}
