package resume

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// An odd store answers a Take as it likes.
type odd struct {
	*shelf
	answer func(key string, taken []cache.Entry, err error) ([]cache.Entry, error)
}

func (o odd) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	taken, err := o.shelf.Take(ctx, key, max)
	return o.answer(key, taken, err)
}

// What one release of Go sealed, the next may be unable to read; and what a
// store hands out against its contract is nothing. Either costs the handshake
// its resumption, is counted, and leaves client and server in order.
func TestAServerTakesWhatItCannotReadForAMiss(t *testing.T) {
	for why, row := range map[string]struct {
		answer     func(f *fleet, key string, e cache.Entry) []cache.Entry
		unreadable uint64
		reason     string
	}{
		"a record of another release": {func(f *fleet, key string, e cache.Entry) []cache.Entry {
			plain := tlstest.Must(f.keys.Open(key, e.ID, e.Expires, e.Value))
			plain[0] ^= 0xff // its version
			e.Value = tlstest.Must(f.keys.Seal(key, e.ID, e.Expires, plain))
			return []cache.Entry{e}
		}, 1, "unreadable"},
		"an empty record": {func(f *fleet, key string, e cache.Entry) []cache.Entry {
			e.Value = tlstest.Must(f.keys.Seal(key, e.ID, e.Expires, nil))
			return []cache.Entry{e}
		}, 1, "unreadable"},
		"no entry, and no error": {func(*fleet, string, cache.Entry) []cache.Entry { return nil }, 0, "gone"},
	} {
		t.Run(why, func(t *testing.T) {
			f := newFleet()
			var d diary
			store := odd{f.shelf, nil}
			store.answer = func(key string, taken []cache.Entry, err error) ([]cache.Entry, error) {
				if len(taken) == 0 {
					return taken, err
				}
				return row.answer(f, key, taken[0]), nil
			}
			h := newHouse(t, &ServerCache{Store: Seal(store, f.keys), Observe: d.note}, byListener)
			_, first := h.call(nil)
			resumed, next := h.call(first)
			require.False(t, resumed)
			require.NotNil(t, next, "it is given another")
			st := checkServerStats(t, h.cache)
			require.Equal(t, row.unreadable, st.Unreadable)
			require.EqualValues(t, 2, st.Full)
			require.Zero(t, st.Resumed)
			require.Equal(t, []string{row.reason}, d.reasons(SessionMissing))
		})
	}
}

// Certificates that were put together by hand have no Leaf, which the standard
// library allows: a session still ends with the client's certificate, since a
// server that resumes it would let in whose identity has run out.
func TestASessionEndsWithAClientsCertificateThatWasNotParsed(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("clients"))
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	leaf := tlstest.Must(ca.Issue(tlstest.Leaf{Client: true, Names: []string{"client"}, NotAfter: soon}))
	leaf.Leaf = nil
	p := newPeer(t, func(server, client *tls.Config) {
		server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
		client.Certificates = []tls.Certificate{leaf}
	})
	conn := p.bound(t, new(ClientCache).NewScope(), true)
	require.True(t, soon.Equal(conn.Get0Session().Info().Expires), "%v", conn.Get0Session().Info().Expires)
}

// A configuration may name certificates that are none, as long as nobody asks
// for them.
func TestAClientsCertificateThatIsNoneBoundsNothing(t *testing.T) {
	for why, cert := range map[string]tls.Certificate{
		"empty":      {},
		"garbage":    {Certificate: [][]byte{{1, 2, 3}}},
		"empty leaf": {Certificate: [][]byte{nil}},
		"no end":     {Leaf: new(x509.Certificate)},
	} {
		p, c := newPeer(t), new(ClientCache)
		p.client.Certificates = []tls.Certificate{cert}
		scope := c.NewScope()
		p.bound(t, scope, true)
		require.True(t, p.bound(t, scope, true).ConnectionState().DidResume, why)
	}
}

// A store that hands an entry out twice in one answer costs no ticket its single
// use.
func TestWhatAStoreHandsOutTwiceIsUsedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newPeer(t), newFleet()
		a := f.cache(t)
		p.stock(t, a.Scope("tenant"), 2)
		flush(t, a)
		twice := odd{f.shelf, func(_ string, taken []cache.Entry, err error) ([]cache.Entry, error) {
			return append(taken, taken...), err
		}}
		b := &ClientCache{Store: Seal(twice, f.keys)}
		t.Cleanup(func() { b.Close() })
		before := p.seen.Counts()
		for range 4 {
			conn := b.Scope("tenant").NewConn(p.serve(), p.client)
			require.NoError(t, conn.Handshake())
			conn.NetConn().Close() // it brings no other
			conn.Close()
		}
		after := p.seen.Counts()
		require.Equal(t, 2, after.Offered-before.Offered)
		require.Zero(t, after.Reused)
	})
}
