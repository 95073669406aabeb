package integration_test

import (
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
)

// A row is a server of the matrix and what is to be expected of it: section S
// of the rules, by what Debian 12 ships.
type row struct {
	name string // unique; of the program, if empty
	run  peer.Program
	want facts
	why  string
}

// Facts are what a test run finds out about a server. The columns of
// docs/peers.md are made of them.
type facts struct {
	Full, Resumed int           // tickets after a full and a resumed TLS 1.3 handshake
	Unasked       bool          // they come before the client has said anything
	First         bool          // all of them come before the first application data
	Lifetime      time.Duration // of a ticket of a full handshake
	Remains       bool          // those of a resumed handshake have what is left of it
	Resumes       bool          // a ticket is good for something
	Twice         bool          // and for a second connection, too
	Refused       int           // connections that offered one in vain after a restart
	TLS12         [2]int        // tickets after a full and a resumed TLS 1.2 handshake
	TLS12Again    bool          // a TLS 1.2 session is resumed again and again
	TLS12Extended bool          // it has an extended master secret
	TLS12Refused  int           // as Refused
}

// openSSLs is what servers do that leave tickets to OpenSSL.
var openSSLs = facts{
	Full: 2, Resumed: 1, Unasked: true, First: true, Lifetime: 2 * time.Hour,
	Resumes: true, Twice: true, Refused: 1,
	TLS12: [2]int{1, 0}, TLS12Again: true, TLS12Extended: true, TLS12Refused: 1,
}

// but is a variation.
func (f facts) but(change func(*facts)) facts {
	change(&f)
	return f
}

func lasting(lifetime time.Duration) func(*facts) {
	return func(f *facts) { f.Lifetime = lifetime }
}

// noTLS12 is a server that keeps its TLS 1.2 sessions under session IDs, which
// crypto/tls does not support.
func noTLS12(f *facts) {
	f.TLS12, f.TLS12Again, f.TLS12Extended, f.TLS12Refused = [2]int{}, false, false, 0
}

var matrix = []row{
	{run: peer.OpenSSL(), want: openSSLs, why: "OpenSSL's defaults"},
	{
		name: "openssl s_server -num_tickets 4", run: peer.OpenSSL("-num_tickets", "4"),
		want: openSSLs.but(func(f *facts) { f.Full = 4 }),
		why:  "as many as asked for, and one with a resumed handshake",
	},
	{
		name: "openssl s_server -no_ticket", run: peer.OpenSSL("-no_ticket"),
		want: openSSLs.but(noTLS12),
		why:  "stateful: a ticket is 32 bytes that name the server's session; its TLS 1.2 sessions have an ID instead",
	},
	{
		name: "openssl s_server -early_data", run: peer.OpenSSLEarlyData(),
		want: openSSLs.but(func(f *facts) { f.Twice = false }),
		why:  "single use enforced by the server, against replayed early data",
	},
	{
		run: peer.Nginx(), want: openSSLs.but(lasting(5 * time.Minute)),
		why: "ssl_session_timeout 5m",
	},
	{
		name: "nginx, cache and no tickets", run: peer.Nginx("ssl_session_tickets off;", "ssl_session_cache shared:peers:1m;"),
		want: openSSLs.but(lasting(5 * time.Minute)).but(noTLS12),
		why:  "stateful, shared by its workers",
	},
	{
		name: "nginx, no tickets", run: peer.Nginx("ssl_session_tickets off;"),
		want: openSSLs.but(lasting(5 * time.Minute)).but(noTLS12).but(func(f *facts) {
			f.Resumed, f.Resumes, f.Twice, f.Refused = 0, false, false, 4
		}),
		why: "sends tickets that name sessions it does not keep, and never resumes",
	},
	{run: peer.HAProxy(), want: openSSLs, why: "OpenSSL's defaults; of the cipher suites it takes TLS_AES_256_GCM_SHA384"},
	{
		run: peer.Apache(), want: openSSLs.but(lasting(5 * time.Minute)),
		why: "SSLSessionCacheTimeout 300",
	},
	{
		run: peer.Stunnel(), want: openSSLs.but(lasting(5 * time.Minute)),
		why: "sessionCacheTimeout = 300",
	},
	{
		run:  peer.GnuTLS(),
		want: openSSLs.but(lasting(6 * time.Hour)).but(func(f *facts) { f.Resumed, f.Remains = 2, true }),
		why:  "a chain of resumptions ends with the lifetime of its first ticket",
	},
	{
		run: peer.Node(), want: openSSLs.but(func(f *facts) { f.Resumed = 0 }),
		why: "none with a resumed handshake: single use pays a full handshake for every third connection",
	},
	{
		name: "Python ssl, num_tickets 1", run: peer.Python(1),
		want: openSSLs.but(func(f *facts) { f.Full = 1 }),
		why:  "num_tickets = 1",
	},
	{
		name: "Python ssl, num_tickets 0", run: peer.Python(0),
		want: facts{TLS12: openSSLs.TLS12, TLS12Again: true, TLS12Extended: true, TLS12Refused: 1},
		why:  "none at all in TLS 1.3",
	},
	{
		name: "Python ssl, num_tickets 5", run: peer.Python(5),
		want: openSSLs.but(func(f *facts) { f.Full = 5 }),
		why:  "as many as asked for, and one with a resumed handshake",
	},
	{
		run: peer.Caddy(),
		want: openSSLs.but(lasting(7 * 24 * time.Hour)).but(func(f *facts) {
			f.Full, f.TLS12Extended, f.TLS12Refused = 1, false, 0
		}),
		why: "crypto/tls of a Go before 1.21, without extended master secrets: the layer does not resume its TLS 1.2 sessions",
	},
	{
		run: peer.Go(),
		want: openSSLs.but(lasting(7 * 24 * time.Hour)).but(func(f *facts) {
			f.Full, f.TLS12 = 1, [2]int{1, 1}
		}),
		why: "one ticket with each handshake, in TLS 1.2 too",
	},
}

func (r row) String() string {
	if r.name != "" {
		return r.name
	}
	return r.run.Name
}

// A finding is what the run found out about a row.
type finding struct {
	row
	version string
	got     facts
	resumed int // connections that the layer resumed with TLS 1.3
}

func TestPeers(t *testing.T) {
	leakCheck(t)
	var mu sync.Mutex
	var all []finding
	t.Run("matrix", func(t *testing.T) {
		for _, r := range matrix {
			t.Run(r.String(), func(t *testing.T) {
				t.Parallel()
				found := meet(t, r)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, found)
			})
		}
	})
	t.Run("document", func(t *testing.T) { checkDocument(t, all) })
	t.Run("programs", func(t *testing.T) {
		if len(all) != len(matrix) {
			t.Skip("not every peer was met")
		}
		resumed := make(map[string]bool)
		for _, f := range all {
			resumed[f.run.Name] = resumed[f.run.Name] || f.resumed > 0
		}
		for program, ok := range resumed {
			assert.True(t, ok, "no connection to %s was resumed", program)
		}
		assert.GreaterOrEqual(t, len(resumed), 6)
	})
}

// meet finds out all about a server, once with each kind of certificate, and
// holds it to what was expected.
func meet(t *testing.T, r row) finding {
	found := finding{row: r}
	for _, kind := range []struct {
		name string
		cert func() tls.Certificate
	}{{"ECDSA", ecdsaCert}, {"RSA", rsaCert}} {
		server, err := r.run.Start(kind.cert())
		if errors.Is(err, peer.ErrMissing) {
			peerMissing(t, err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { server.Close() })
		if found.version == "" {
			found.version, err = r.run.Version()
			require.NoError(t, err)
		}
		m := &meeting{row: r, Server: server, client: &tls.Config{RootCAs: peersCA().Pool(), ServerName: host}}
		found.got = m.measure(t)
		require.Equal(t, r.want, found.got, "%s, %s: %s", r, kind.name, r.why)
		found.resumed += m.resumed
		require.NoError(t, server.Close())
	}
	return found
}

// The certificates are shared: to make an RSA key takes longer than a row.
var (
	peersCA   = sync.OnceValue(func() *tlstest.CA { return tlstest.Must(tlstest.NewCA("root")) })
	ecdsaCert = sync.OnceValue(func() tls.Certificate { return issue(peersCA(), host) })
	rsaCert   = sync.OnceValue(func() tls.Certificate {
		return tlstest.Must(peersCA().Issue(tlstest.Leaf{Names: []string{host}, RSA: true}))
	})
)
