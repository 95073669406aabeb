package peer

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// all are the programs, each as it is without arguments.
var all = []Program{
	OpenSSL(), OpenSSLEarlyData(), Nginx(), HAProxy(), Apache(), Caddy(), Go(),
	GnuTLS(), Stunnel(), Node(), Python(2),
}

func start(t *testing.T, p Program) (*Server, *tls.Config) {
	t.Helper()
	ca := tlstest.Must(tlstest.NewCA("root"))
	server, err := p.Start(tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{"server.test"}})))
	if errors.Is(err, ErrMissing) && os.Getenv("TLSRESUME_REQUIRE_PEERS") == "" {
		t.Skipf("without this peer: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return server, &tls.Config{RootCAs: ca.Pool(), ServerName: "server.test"}
}

func TestAServerTalksUntilItIsClosedAndAfterEachRestart(t *testing.T) {
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			server, client := start(t, p)
			version, err := p.Version()
			require.NoError(t, err)
			require.Regexp(t, versionNumber, version)
			for range 3 {
				conn, err := tls.Dial("tcp", server.Addr, client)
				require.NoError(t, err)
				require.NoError(t, p.Talk(conn))
				require.NoError(t, p.Talk(conn), "nothing was left to be read")

				addr := server.Addr
				require.NoError(t, server.Restart())
				require.Equal(t, addr, server.Addr)
				require.Error(t, p.Talk(conn), "it died")
				conn.Close()
			}
			require.NoError(t, server.Close())
			_, err = net.Dial("tcp", server.Addr)
			require.Error(t, err)
			require.NoDirExists(t, server.site.dir)
		})
	}
}

func TestAMissingProgramIsNamedWithItsPackage(t *testing.T) {
	_, err := Program{Command: "no-such-server", Package: "none"}.Start(tls.Certificate{})
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "no-such-server (Debian: none)")
}

// What a server says when it cannot start is what somebody has to mend.
func TestAServerThatDoesNotStartSaysWhy(t *testing.T) {
	_, err := OpenSSL("-no_such_option").path()
	if err != nil {
		t.Skip(err)
	}
	ca := tlstest.Must(tlstest.NewCA("root"))
	_, err = OpenSSL("-no_such_option").Start(tlstest.Must(ca.Issue(tlstest.Leaf{})))
	require.ErrorContains(t, err, "no_such_option")
}
