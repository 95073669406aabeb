package redisstore_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// listenOver is a TLS server with sessions in a Redis.
func listenOver(t testing.TB, redis *server, opts redisstore.Options, cert tls.Certificate) (addr string, cache *resume.ServerCache) {
	t.Helper()
	client := redis.client(t)
	require.NoError(t, client.Ping(background).Err())
	keys := tlstest.Must(ticket.NewKeyring([32]byte{1}))
	cache = &resume.ServerCache{Store: resume.Seal(newStore(t, client, opts), keys)}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { inner.Close() })
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	go new(tlstest.Tally).Serve(cache.NewListener(inner, config))
	return inner.Addr().String(), cache
}

// A failover forgets that sessions were used. What a server then accepts again
// is what a replay's 0-RTT data would come with.
func TestWhatAFailoverBringsBackToServers(t *testing.T) {
	for name, arm := range map[string]struct {
		opts redisstore.Options
		back bool
	}{
		"by default":                {byDefault, false},
		"on the word of the caller": {onTheirWord, true}, // the word was wrong
	} {
		t.Run(name, func(t *testing.T) {
			const sessions = 20
			ca := tlstest.Must(tlstest.NewCA("root"))
			cert := tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{host}}))
			client := &tls.Config{RootCAs: ca.Pool(), ServerName: host}
			p := startPair(t)
			before, old := listenOver(t, p.primary, arm.opts, cert)
			var tickets []*tls.ClientSessionState
			for range sessions {
				_, got := present(t, client, nil, before)
				tickets = append(tickets, got)
			}
			p.sync(t)
			p.link.hold()
			var first, again int64
			for _, ticket := range tickets {
				resumed, _ := present(t, client, ticket, before)
				first += resumed
			}
			p.primary.kill()
			p.replica.promote(t)
			after, renewed := listenOver(t, p.replica, arm.opts, cert)
			for _, ticket := range tickets {
				resumed, _ := present(t, client, ticket, after)
				again += resumed
			}
			slow := old.Stats().StoreErrors + renewed.Stats().StoreErrors
			t.Logf("of %d sessions %d resumed before the failover and %d after it; %d slow calls of the store",
				sessions, first, again, slow)
			require.Equal(t, arm.back, again > 0)
			if slow == 0 {
				require.EqualValues(t, sessions, first)
			}
		})
	}
}
