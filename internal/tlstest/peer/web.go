package peer

import (
	"fmt"
	"os"
	"strings"
)

// Nginx answers every request. The directives are added to its server block.
// The protocols are those of Debian's nginx.conf; without, 1.22 has no TLS 1.3.
func Nginx(directives ...string) Program {
	const config = `
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	server {
		listen %s ssl;
		ssl_certificate %s;
		ssl_certificate_key %s;
		ssl_protocols TLSv1.2 TLSv1.3;
		%s
		return 200 "level\n";
	}
}
`
	return Program{
		Name: "nginx", Command: "nginx", Package: "nginx", Talk: HTTP, forks: true,
		version: []string{"-v"},
		configure: func(s site) ([]string, error) {
			file, err := s.write("nginx.conf",
				fmt.Sprintf(config, s.addr, s.certFile, s.certKey, strings.Join(directives, "\n\t\t")))
			return []string{"-p", s.dir, "-e", "stderr", "-c", file}, err
		},
	}
}

// HAProxy answers every request itself, without a server behind it.
func HAProxy() Program {
	const config = `
defaults
	mode http
	timeout client 30s
frontend peer
	bind %s ssl crt %s
	http-request return status 200 content-type text/plain string "level\n"
`
	return Program{
		Name: "HAProxy", Command: "haproxy", Package: "haproxy", Talk: HTTP,
		version: []string{"-v"},
		configure: func(s site) ([]string, error) {
			var both strings.Builder // it wants certificate and key in one file
			for _, name := range []string{s.certFile, s.certKey} {
				content, err := os.ReadFile(name)
				if err != nil {
					return nil, err
				}
				both.Write(content)
			}
			pem, err := s.write("both.pem", both.String())
			if err != nil {
				return nil, err
			}
			file, err := s.write("haproxy.cfg", fmt.Sprintf(config, s.addr, pem))
			return []string{"-db", "-f", file}, err
		},
	}
}

// Apache is httpd with mod_ssl, as Debian builds it. It answers every request
// with 204. As root it insists on another user for its workers; #65534 is
// nobody everywhere. Its locks are files, so that being killed leaves none.
func Apache() Program {
	const config = `
ServerName server.test
ServerRoot %[1]q
DefaultRuntimeDir %[1]q
PidFile httpd.pid
ErrorLog /dev/stderr
Mutex fcntl:%[1]s default
User #65534
Group #65534
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
Listen %[2]s
SSLEngine on
SSLCertificateFile %[3]q
SSLCertificateKeyFile %[4]q
Redirect 204 /
`
	return Program{
		Name: "Apache httpd", Command: "apache2", Package: "apache2", Talk: HTTP, forks: true,
		version: []string{"-v"},
		configure: func(s site) ([]string, error) {
			file, err := s.write("httpd.conf", fmt.Sprintf(config, s.dir, s.addr, s.certFile, s.certKey))
			return []string{"-D", "FOREGROUND", "-f", file}, err
		},
	}
}

// Caddy answers every request. It is a Go program, with ticket keys of its own
// making.
func Caddy() Program {
	const config = `{
	admin off
	auto_https off
	servers {
		protocols h1 h2
	}
}
https://server.test:%s {
	bind %s
	tls %s %s
	respond "level"
}
`
	return Program{
		Name: "Caddy", Command: "caddy", Package: "caddy", Talk: HTTP,
		version: []string{"version"},
		configure: func(s site) ([]string, error) {
			file, err := s.write("Caddyfile", fmt.Sprintf(config, s.port, s.host, s.certFile, s.certKey))
			return []string{"run", "--adapter", "caddyfile", "--config", file}, err
		},
	}
}
