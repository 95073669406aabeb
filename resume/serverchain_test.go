package resume

import (
	"crypto/tls"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// Of handshakes that cannot be told apart the oldest descent is dealt out first,
// so that no chain is taken for a younger one while it is still open.
func TestTheOldestDescentIsDealtOutFirst(t *testing.T) {
	var c chains
	now := time.Now()
	key := chainKey{name: serverName}
	for _, age := range []time.Duration{2, 5, 3, 1, 4} {
		c.begin(key, descent{fullHandshake: now.Add(-age * time.Hour), resumptions: int(age)}, now)
	}
	c.begin(chainKey{name: "other.test"}, descent{fullHandshake: now.Add(-9 * time.Hour)}, now)
	for age := time.Duration(5); age > 0; age-- {
		require.Equal(t, descent{fullHandshake: now.Add(-age * time.Hour), resumptions: int(age) + 1}, c.end(key, now))
	}
	require.Equal(t, descent{fullHandshake: now}, c.end(key, now), "there are no more")
	require.Len(t, c.open, 1)
}

// Handshakes that fail leave their descents open: for a minute, and no more than
// a number of them.
func TestOpenChainsAreBounded(t *testing.T) {
	var c chains
	now := time.Now()
	key := chainKey{name: serverName}
	c.begin(key, descent{fullHandshake: now.Add(-time.Hour)}, now)
	later := now.Add(openChainTime + time.Second)
	c.begin(chainKey{name: "other.test"}, descent{}, later)
	require.Equal(t, descent{fullHandshake: later}, c.end(key, later), "that one has failed")

	for i := range 3 * maxOpenChains {
		c.begin(chainKey{name: fmt.Sprint(i)}, descent{resumptions: i}, later)
		require.LessOrEqual(t, len(c.open), maxOpenChains)
	}
	last := 3*maxOpenChains - 1
	require.Equal(t, last+1, c.end(chainKey{name: fmt.Sprint(last)}, later).resumptions, "the newest stay")
}

// A chain is bounded whoever presents a certificate, and wherever the session
// was meanwhile.
func TestAChainWithAClientCertificateIsBounded(t *testing.T) {
	for _, way := range serverWays {
		for name, make := range map[string]func() *ServerCache{
			"memory": func() *ServerCache { return new(ServerCache) },
			"store":  func() *ServerCache { return &ServerCache{Store: Seal(newShelf(), newFleet().keys), Scope: "one"} },
			"sealed": func() *ServerCache { return &ServerCache{Keyring: newFleet().keys, Scope: "one"} },
		} {
			t.Run(way.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ca := tlstest.Must(tlstest.NewCAValid("clients", time.Now().Add(-time.Hour), time.Now().Add(100*day)))
					leaf := tlstest.Must(ca.Issue(tlstest.Leaf{
						Names: []string{"someone"}, Client: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(99 * day),
					}))
					h := newHouse(t, make(), way, endless, func(server, client *tls.Config) {
						server.ClientAuth = tls.RequireAnyClientCert
						client.Certificates = []tls.Certificate{leaf}
					})
					_, at := h.call(nil)
					resumptions := 0
					for resumptions < 20 {
						time.Sleep(23 * time.Hour)
						var resumed bool
						if resumed, at = h.call(at); !resumed {
							break
						}
						resumptions++
					}
					require.Equal(t, 7, resumptions, "of a chain of 7 days")
				})
			})
		}
	}
}
