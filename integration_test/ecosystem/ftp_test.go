//go:build linux

package ecosystem_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jlaffaye/ftp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A vsftpd is a vsftpd that refuses data connections which resume no session
// (require_ssl_reuse). It is reached through proxies at 127.0.0.2, one for the
// control port and one for each data port, which count together.
type vsftpd struct {
	*site
	addr string
	root string // the directory it serves
}

const (
	dataPorts   = 4
	proxiesHost = "127.0.0.2"
)

func newVsftpd(t testing.TB, implicit bool) *vsftpd {
	t.Helper()
	program := lookPeer(t, "vsftpd", "vsftpd")
	v := &vsftpd{site: newSite(), root: t.TempDir()}
	cert, key := v.files(t)
	addr, port := freeAddr(t)
	first := v.proxies(t)
	settings := fmt.Sprintf(`listen=YES
background=NO
listen_address=127.0.0.1
listen_port=%s
pasv_min_port=%d
pasv_max_port=%d
run_as_launching_user=YES
anonymous_enable=YES
no_anon_password=YES
anon_root=%s
write_enable=YES
anon_upload_enable=YES
anon_umask=022
ssl_enable=YES
implicit_ssl=%s
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=YES
strict_ssl_read_eof=YES
ssl_tlsv1=YES
ssl_ciphers=HIGH
rsa_cert_file=%s
rsa_private_key_file=%s
`, port, first, first+dataPorts-1, v.root, map[bool]string{true: "YES", false: "NO"}[implicit], cert, key)
	file := filepath.Join(filepath.Dir(cert), "vsftpd.conf")
	require.NoError(t, os.WriteFile(file, []byte(settings), 0o600))
	startPeer(t, exec.Command(program, file), addr)
	v.addr = net.JoinHostPort(proxiesHost, port)
	v.proxy(t, v.addr, addr)
	return v
}

// proxies are those of the data ports, of which it returns the first: ports
// below those that the system gives to clients.
func (v *vsftpd) proxies(t testing.TB) (first int) {
	t.Helper()
	for first = 20000; first < 30000; first += dataPorts {
		if v.allFree(first) {
			for port := first; port < first+dataPorts; port++ {
				at := strconv.Itoa(port)
				v.proxy(t, net.JoinHostPort(proxiesHost, at), net.JoinHostPort("127.0.0.1", at))
			}
			return first
		}
	}
	require.FailNow(t, "no free ports in a row")
	return 0
}

func (v *vsftpd) allFree(first int) bool {
	for _, host := range []string{"127.0.0.1", proxiesHost} {
		for port := first; port < first+dataPorts; port++ {
			listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
			if err != nil {
				return false
			}
			listener.Close()
		}
	}
	return true
}

func (v *vsftpd) proxy(t testing.TB, addr, target string) {
	t.Helper()
	proxy, err := tlstest.NewProxyAt(addr, target, 8, v.seen)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
}

func put(conn *ftp.ServerConn, name, text string) error {
	return conn.Stor(name, bytes.NewReader([]byte(text)))
}

func get(conn *ftp.ServerConn, name string) (string, error) {
	response, err := conn.Retr(name)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(response)
	if err != nil {
		return "", err
	}
	return string(text), response.Close()
}

// Each data connection resumes, by the server's own demand, after uploads as
// after downloads.
func TestFTPSDataConnectionsResumeTheirControlConnection(t *testing.T) {
	for name, dial := range map[string]func(*resume.ClientCache, string, *tls.Config) (*ftp.ServerConn, error){
		"implicit": dialFTPS,
		"explicit": dialFTPES,
	} {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			server := newVsftpd(t, name == "implicit")
			cache := newCache(t)
			const logins, files = 2, 6
			for login := range logins {
				conn, err := dial(cache, server.addr, server.client)
				require.NoError(t, err)
				require.NoError(t, conn.Login("anonymous", "x"))
				for i := range files {
					require.NoError(t, put(conn, fmt.Sprintf("file-%d-%d", login, i), "some text"))
				}
				names, err := conn.NameList(".")
				require.NoError(t, err)
				assert.Len(t, names, files*(login+1))
				for i := range files {
					text, err := get(conn, fmt.Sprintf("file-%d-%d", login, i))
					require.NoError(t, err)
					assert.Equal(t, "some text", text)
				}
				require.NoError(t, conn.Quit())
			}
			counts := requireNoReuse(t, server.seen)
			assert.Equal(t, logins*(2*files+1), counts.Offered)
			assert.EqualValues(t, counts.Offered, cache.Stats().Resumed)
			assert.EqualValues(t, logins, cache.Stats().Full, "one control connection each")
		})
	}
}

// plain is what works without a dial function, up to a point: the library makes
// all connections from one configuration.
func plain(cache *resume.ClientCache, server *vsftpd) (*ftp.ServerConn, error) {
	return ftp.Dial(server.addr, ftp.DialWithTLS(cache.TLSConfig(server.client)))
}

// What the recipe's Close is for. If this fails, the page has a pitfall too
// many: an upload of the library's own reads nothing, so that it uses a ticket
// up and brings none.
func TestFTPSUploadsWithoutTheRecipeRunOutOfTickets(t *testing.T) {
	leakCheck(t)
	server := newVsftpd(t, true)
	cache := newCache(t)
	conn, err := plain(cache, server)
	require.NoError(t, err)
	defer conn.Quit()
	require.NoError(t, conn.Login("anonymous", "x"))
	uploads := 0
	for uploads < 20 && err == nil {
		if err = put(conn, fmt.Sprintf("file-%d", uploads), "some text"); err == nil {
			uploads++
		}
	}
	t.Log(uploads, "uploads, then:", err)
	require.Error(t, err)
	assert.Equal(t, 2, uploads, "as many as the control connection brought tickets")
	requireNoReuse(t, server.seen)
}

// What the data connections receive is kept in the scope, too, and so each has
// the newest session to resume with, beginning with the control connection's.
func TestFTPSDataConnectionsResumeTheSessionTheyAreGiven(t *testing.T) {
	const downloads = 6
	leakCheck(t)
	server := newVsftpd(t, true)
	scope := newCache(t).NewScope()
	var control *resume.Conn
	var given []*resume.Session
	conn, err := ftp.Dial(server.addr, ftp.DialWithTLS(server.client),
		ftp.DialWithDialFunc(func(network, addr string) (net.Conn, error) {
			raw, err := net.Dial(network, addr)
			if err != nil {
				return nil, err
			}
			if control == nil {
				control = scope.NewConn(raw, server.client)
				return control, nil
			}
			session := scope.Get1Session(server.client.ServerName)
			if given == nil {
				assert.True(t, session.Same(control.Get0Session()))
			}
			given = append(given, session)
			return tls.Client(raw, resumeWith(session, server.client)), nil
		}))
	require.NoError(t, err)
	require.NoError(t, conn.Login("anonymous", "x"))
	require.NoError(t, os.WriteFile(filepath.Join(server.root, "file"), []byte("some text"), 0o644))
	for range downloads {
		text, err := get(conn, "file")
		require.NoError(t, err)
		assert.Equal(t, "some text", text)
	}
	require.NoError(t, conn.Quit())
	require.Len(t, given, downloads)
	for _, session := range given {
		assert.Equal(t, resume.Used, session.Status())
		session.Release()
	}
	assert.Equal(t, downloads, requireNoReuse(t, server.seen).Offered)
}

// In TLS 1.2 one session serves a whole login, uploads too: such sessions are
// made to be used again.
func TestFTPSInTLS12ResumesOneSessionThroughout(t *testing.T) {
	const uploads = 6
	leakCheck(t)
	server := newVsftpd(t, true)
	server.client.MaxVersion = tls.VersionTLS12
	cache := newCache(t)
	conn, err := plain(cache, server)
	require.NoError(t, err)
	require.NoError(t, conn.Login("anonymous", "x"))
	for i := range uploads {
		require.NoError(t, put(conn, fmt.Sprintf("file-%d", i), "some text"))
	}
	require.NoError(t, conn.Quit())
	assert.EqualValues(t, 1, cache.Stats().Full)
	assert.EqualValues(t, uploads, cache.Stats().Resumed)
	assert.Equal(t, uploads, server.seen.Counts().Offered)
}
