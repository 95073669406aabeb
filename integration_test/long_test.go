package integration_test

import (
	"crypto/tls"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// padded makes a server's tickets as long as that. It can still open them.
func padded(size int) func(*tls.Config) {
	return func(c *tls.Config) {
		c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
			ticket, err := c.EncryptTicket(cs, state)
			long := binary.BigEndian.AppendUint32(make([]byte, 0, size), uint32(len(ticket)))
			return append(long, ticket...)[:size], err
		}
		c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			if len(identity) < 4 {
				return nil, nil // none, in TLS 1.2
			}
			return c.DecryptTicket(identity[4:][:binary.BigEndian.Uint32(identity)], cs)
		}
	}
}

// A ticket that cannot be offered costs what no ticket costs: full handshakes.
func TestAServerOfLongTicketsIsServed(t *testing.T) {
	const (
		message = 65536            // crypto/tls reads no longer one
		longest = message - 13 - 4 // without the other fields and the header
	)
	for _, row := range []struct {
		size    int
		version uint16
		resumed bool
		why     string
	}{
		{16384, tls.VersionTLS13, true, "as long as may be; the ClientHello needs two records"},
		{16385, tls.VersionTLS13, false, "longer"},
		{65000, tls.VersionTLS13, false, "would fit no ClientHello"},
		{longest, tls.VersionTLS13, false, "as long as crypto/tls reads"},
		{16384, tls.VersionTLS12, true, "as long as may be"},
		{65000, tls.VersionTLS12, false, "would fit no ClientHello"},
	} {
		for _, w := range ways {
			t.Run(row.why+"/"+tls.VersionName(row.version)+"/"+w.name, func(t *testing.T) {
				s := newSite(t, setup{server: func(c *tls.Config) {
					c.MaxVersion = row.version
					padded(row.size)(c)
				}})
				c, heard := listen(t, new(resume.ClientCache))
				e := w.open(c, s.with(onlyP256))
				const turns = 3
				e.full(t, s.Addr)
				for range turns - 1 {
					resumed, err := e.visit(s.Addr)
					require.NoError(t, err)
					require.Equal(t, row.resumed, resumed)
				}
				assert.EqualValues(t, turns, c.Stats().Captured)

				offered, failed := turns-1, 0
				if !row.resumed {
					offered, failed = 0, turns
				}
				assert.EqualValues(t, failed, c.Stats().Failed)
				if row.version == tls.VersionTLS13 && row.resumed {
					e.drain(t, s.Addr, 1) // of all that came, what the last one brought
					offered++
				}
				assert.Equal(t, offered, requireNoReuse(t, s.Identities).Offered)
				for _, got := range heard.got()[:failed] {
					assert.Equal(t, "ticket-size", got.Reason())
				}
			})
		}
	}
}

// A ticket longer than crypto/tls reads fails the connection that it comes on.
func TestATicketTooLongToBeReadCostsItsConnection(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			s := newSite(t, setup{server: padded(math.MaxUint16)})
			c := newCache(t, new(resume.ClientCache))
			e := w.open(c, s.with(onlyP256))
			for range 3 {
				conn := e.connect(t, s.Addr)
				require.ErrorContains(t, talk(conn), "exceeds maximum")
				conn.Close()
			}
			assert.Zero(t, c.Stats().Captured)
			assert.Zero(t, s.Identities.Counts().Offered)

			s.restart(t, func(c *tls.Config) { c.WrapSession, c.UnwrapSession = nil, nil })
			e.full(t, s.Addr)
			e.resumed(t, s.Addr)
		})
	}
}
