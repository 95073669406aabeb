package peers

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

var errNoNginx = errors.New("peers: no nginx command found")

// nginx is a running nginx, in one process, that answers every request "ok".
type nginx struct {
	addr string
	cmd  *exec.Cmd
	dir  string
}

// nginxConf has everything that nginx would write somewhere else: it need not
// run as root.
const nginxConf = `daemon off;
master_process off;
error_log stderr error;
pid DIR/pid;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen ADDR ssl backlog=1024;
		ssl_certificate CERT;
		ssl_certificate_key KEY;
		ssl_protocols TLSv1.2 TLSv1.3;
		return 200 "ok\n";
	}
}
`

func startNginx(cert tls.Certificate) (n *nginx, err error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errNoNginx
	}
	n = new(nginx)
	if n.dir, err = os.MkdirTemp("", "bench-nginx"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	certFile, keyFile, err := tlstest.WriteFiles(n.dir, cert)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.addr = listener.Addr().String()
	listener.Close()
	conf := strings.NewReplacer("DIR", n.dir, "ADDR", n.addr, "CERT", certFile, "KEY", keyFile).Replace(nginxConf)
	file := filepath.Join(n.dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-p", n.dir, "-c", file, "-e", "stderr")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	n.cmd = cmd
	return n, n.listening()
}

// listening waits until the port answers.
func (n *nginx) listening() (err error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var conn net.Conn
		if conn, err = net.Dial("tcp", n.addr); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("peers: nginx does not listen: %w", err)
}

func (n *nginx) close() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait() // "signal: killed" is what was asked for
	}
	os.RemoveAll(n.dir)
}
