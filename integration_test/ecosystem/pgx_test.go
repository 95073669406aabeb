//go:build unix

package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A postgres is a PostgreSQL server that speaks TLS, and plain text, too.
type postgres struct {
	*site
	port  string
	roots string // file
}

// newPostgres makes a database and starts its server: as the user postgres if
// the test runs as root, which the server refuses to.
func newPostgres(t testing.TB) *postgres {
	t.Helper()
	bin := postgresBin(t)
	p := &postgres{site: newSite(), roots: filepath.Join(t.TempDir(), "roots.pem")}
	require.NoError(t, os.WriteFile(p.roots, p.ca.PEM(), 0o600))
	dir, err := os.MkdirTemp("", "postgres") // t.TempDir's parent is closed to others
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cert, key, err := tlstest.WriteFiles(dir, p.cert)
	require.NoError(t, err)
	as := postgresUser(t, dir, cert, key)

	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = as, dir
	output, err := initdb.CombinedOutput()
	require.NoError(t, err, "%s", output)

	addr, port := freeAddr(t)
	p.port = port
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off",
		"-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
	server.SysProcAttr, server.Dir = as, dir
	startPeer(t, server, addr)
	return p
}

// postgresBin is the directory of the newest server Debian has installed, or
// the one in PATH.
func postgresBin(t testing.TB) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	return filepath.Dir(lookPeer(t, "initdb", "postgresql"))
}

// postgresUser is whom the server runs as, and owns what it needs.
func postgresUser(t testing.TB, owned ...string) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		peerMissing(t, "a user postgres, of the Debian package postgresql")
	}
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(account.Gid)
	require.NoError(t, err)
	for _, path := range owned {
		require.NoError(t, os.Chown(path, uid, gid))
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// recipe is the page's, over TLS that is verified.
func (p *postgres) recipe(t testing.TB, cache *resume.ClientCache, port, more string) *pgx.ConnConfig {
	t.Helper()
	config, err := pgxConfig(cache.NewScope(), fmt.Sprintf(
		"host=127.0.0.1 port=%s user=postgres sslmode=verify-full sslrootcert=%s %s", port, p.roots, more))
	require.NoError(t, err)
	return config
}

// connect waits for a server that is still starting up (SQLSTATE 57P03).
func connect(t testing.TB, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	ctx := bounded(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return conn
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.NoError(t, err)
		}
	}
}

func selectOne(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var one int
	err := conn.QueryRow(ctx, "select 1").Scan(&one)
	if err == nil && one != 1 {
		err = fmt.Errorf("select 1 returned %d", one)
	}
	return err
}

// The server turns tickets off, and no client can resume: the recipe costs
// nothing and gains nothing. If this fails, the page is out of date.
func TestPostgreSQLSendsNoTickets(t *testing.T) {
	leakCheck(t)
	server := newPostgres(t)
	cache := newCache(t)
	connect(t, server.recipe(t, cache, server.port, "")).Close(bounded(t))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := server.recipe(t, cache, server.port, "")
		config.TLSConfig.MinVersion, config.TLSConfig.MaxVersion = version, version
		before := cache.Stats()
		for range 3 {
			conn, err := pgx.ConnectConfig(bounded(t), config)
			require.NoError(t, err)
			require.NoError(t, selectOne(conn))
			require.NoError(t, conn.Close(bounded(t)))
		}
		stats := cache.Stats()
		assert.EqualValues(t, 3, stats.Full-before.Full)
		assert.Zero(t, stats.Resumed)
		assert.Zero(t, stats.Captured)
	}
}

// newStunnel takes TLS off in front of a PostgreSQL server, and gives tickets.
func newStunnel(t testing.TB, s *site, port string) (addr string) {
	t.Helper()
	program := lookPeer(t, "stunnel", "stunnel4")
	cert, key := s.files(t)
	addr, _ = freeAddr(t)
	file := filepath.Join(filepath.Dir(cert), "stunnel.conf")
	text := fmt.Sprintf("foreground = yes\npid =\ndebug = notice\ncert = %s\nkey = %s\n[pg]\naccept = %s\nconnect = 127.0.0.1:%s\n",
		cert, key, addr, port)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	startPeer(t, exec.Command(program, file), addr)
	return s.proxyTo(t, addr).Addr
}

// Behind what terminates TLS, pgx resumes, if it speaks TLS from the first byte
// (sslnegotiation=direct).
func TestPgxBehindStunnelUsesEveryTicketOnce(t *testing.T) {
	const crowd, rounds = 8, 4
	leakCheck(t)
	server := newPostgres(t)
	addr := newStunnel(t, server.site, server.port)
	cache := newCache(t)
	config := server.recipe(t, cache, portOf(addr), "sslnegotiation=direct")
	connect(t, config).Close(bounded(t))
	before := server.seen.Counts()
	for range rounds {
		together(t, crowd, func() error {
			conn, err := pgx.ConnectConfig(bounded(t), config)
			if err != nil {
				return err
			}
			defer conn.Close(context.Background())
			return selectOne(conn)
		})
	}
	counts := requireNoReuse(t, server.seen)
	connections, offered := counts.Connections-before.Connections, counts.Offered-before.Offered
	assert.Equal(t, crowd*rounds, connections)
	assert.GreaterOrEqual(t, offered, crowd*(rounds-1))
	assert.EqualValues(t, counts.Offered, cache.Stats().Resumed)
}
