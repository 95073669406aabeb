package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/jlaffaye/ftp"

	"github.com/tlsresume/tlsresume/resume"
)

// dialFTPS connects over implicit TLS. The scope is this connection's own:
// servers want a data connection to resume a session of its control connection.
// The configuration needs a ServerName.
func dialFTPS(cache *resume.ClientCache, addr string, config *tls.Config) (*ftp.ServerConn, error) {
	scope := cache.NewScope()
	return ftp.Dial(addr,
		ftp.DialWithTLS(config), // makes it ask for TLS on data connections, too
		ftp.DialWithDialFunc(func(network, addr string) (net.Conn, error) {
			return dialFTPConn(scope, config, network, addr)
		}))
}

// dialFTPES does so over explicit TLS (AUTH TLS), where the library itself
// makes the control connection's TLS.
func dialFTPES(cache *resume.ClientCache, addr string, config *tls.Config) (*ftp.ServerConn, error) {
	scope, control := cache.NewScope(), true
	return ftp.Dial(addr,
		ftp.DialWithExplicitTLS(scope.TLSConfig(config)),
		ftp.DialWithDialFunc(func(network, addr string) (net.Conn, error) {
			if control {
				control = false
				return net.DialTimeout(network, addr, ftpTimeout)
			}
			return dialFTPConn(scope, config, network, addr)
		}))
}

const ftpTimeout = 10 * time.Second

// dialFTPConn leaves the handshake to the first Read or Write: a server begins
// it only when it has answered the command that the connection is for.
func dialFTPConn(scope *resume.Scope, config *tls.Config, network, addr string) (net.Conn, error) {
	raw, err := net.DialTimeout(network, addr, ftpTimeout)
	if err != nil {
		return nil, err
	}
	return ftpConn{scope.NewConn(raw, config)}, nil
}

// An ftpConn reads to the peer's end when it is closed: after an upload, which
// reads nothing, that is what brings the ticket for the next data connection.
type ftpConn struct{ *resume.Conn }

func (c ftpConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), ftpTimeout)
	defer cancel()
	return c.Shutdown(ctx)
}

// resumeWith returns a configuration that offers one session, once: for data
// connections of libraries that take a tls.Config and no connection.
func resumeWith(session *resume.Session, config *tls.Config) *tls.Config {
	config = config.Clone()
	config.ClientSessionCache = session.ClientSessionCache()
	return config
}

func Example_ftps() {
	var cache resume.ClientCache
	conn, err := dialFTPS(&cache, "ftp.example.com:990", &tls.Config{ServerName: "ftp.example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Quit()
	fmt.Println(conn.Login("anonymous", "anonymous"))
}
