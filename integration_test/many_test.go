package integration_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// Rule T3: after 16 tickets in a row crypto/tls takes the next for an attack,
// and the connection fails. It has stored those 16 by then.
func TestATicketTooManyCostsNoMoreThanItsConnection(t *testing.T) {
	const most = 16
	for _, row := range []struct {
		sent int
		why  string
	}{
		{most, "as many as crypto/tls reads in a row"},
		{most + 1, "one more"},
	} {
		t.Run(strconv.Itoa(row.sent), func(t *testing.T) {
			server := newOpenSSL(t, "-num_tickets", strconv.Itoa(row.sent))
			for _, w := range ways {
				t.Run(w.name, func(t *testing.T) {
					proxy := server.proxy(t, 1)
					c, heard := listen(t, new(resume.ClientCache))
					e := w.open(c, server.client)
					first := e.connect(t, proxy.Addr)
					if err := talk(first); row.sent == most {
						require.NoError(t, err, row.why)
					} else {
						require.ErrorContains(t, err, "tls: too many", row.why)
					}
					first.Close()
					require.Len(t, heard.got(), most, row.why)

					resumed := e.useUp(t, proxy.Addr, most)
					counts := requireNoReuse(t, proxy.Identities)
					assert.Equal(t, most+3, counts.Connections)
					assert.Equal(t, resumed, counts.Offered)
					if row.sent == most {
						assert.Equal(t, most+1, resumed, "the 16, and what the connection that talked brought")
					}
				})
			}
		})
	}
}

// useUp makes connections until no ticket can be left, and returns how many
// were resumed. Whether those of a connection that failed may be is not its
// concern. The first one, if resumed, talks, and brings one ticket more; a full
// one could not, since it would bring one too many.
func (e entry) useUp(t testing.TB, addr string, tickets int) (resumed int) {
	t.Helper()
	conn := e.connect(t, addr)
	if conn.ConnectionState().DidResume {
		require.NoError(t, talk(conn))
		resumed++
	}
	conn.Close()
	for range tickets {
		if e.glance(t, addr) {
			resumed++
		}
	}
	require.False(t, e.glance(t, addr), "nothing is left")
	return resumed
}
