package resume

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The clean-up of a scope that is gone may come when its name is in use again:
// two scopes of one name would not see each other's Clear.
func TestLateCleanUpForgetsNoNameInUse(t *testing.T) {
	c := new(ClientCache).core()
	d := c.names.domain(c, "tenant")
	c.names.forget("tenant") // of the domain before
	require.Same(t, d, c.names.domain(c, "tenant"))
}

// Which of several client certificates the server saw is not known: sessions
// end with the first that ends.
func TestSessionsEndWithTheFirstOfTheClientsCertificates(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	later := tls.Certificate{Leaf: &x509.Certificate{NotAfter: soon.Add(time.Hour)}}
	first := tls.Certificate{Leaf: &x509.Certificate{NotAfter: soon}}
	d := newDomain(new(ClientCache).core(), "")
	for _, certificates := range [][]tls.Certificate{{first, later}, {later, first}, {later, first, later}} {
		require.Equal(t, soon, newView(d, &tls.Config{Certificates: certificates}).clientNotAfter)
	}
}
