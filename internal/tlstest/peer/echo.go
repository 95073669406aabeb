package peer

import (
	_ "embed"
	"fmt"
	"strconv"
)

// GnuTLS is gnutls-serv, which echoes. It cannot be told to listen at
// 127.0.0.1 only.
func GnuTLS() Program {
	return Program{
		Name: "gnutls-serv", Command: "gnutls-serv", Package: "gnutls-bin", Talk: Line,
		version: []string{"--version"},
		configure: func(s site) ([]string, error) {
			return []string{
				"--echo", "--quiet", "--disable-client-cert", "--port", s.port,
				"--x509certfile", s.certFile, "--x509keyfile", s.certKey,
			}, nil
		},
	}
}

// Stunnel has cat behind it, which echoes.
func Stunnel() Program {
	const config = `
foreground = yes
pid =
debug = warning
[echo]
accept = %s
cert = %s
key = %s
exec = /bin/cat
execArgs = cat
`
	return Program{
		Name: "stunnel", Command: "stunnel", Package: "stunnel4", Talk: Line, forks: true,
		version: []string{"-version"},
		configure: func(s site) ([]string, error) {
			file, err := s.write("stunnel.conf", fmt.Sprintf(config, s.addr, s.certFile, s.certKey))
			return []string{file}, err
		},
	}
}

//go:embed scripts/echo.js
var nodeScript string

// Node is the tls module of Node.js.
func Node() Program {
	return Program{
		Name: "Node.js", Command: "node", Package: "nodejs", Talk: Line,
		version: []string{"--version"},
		configure: func(s site) ([]string, error) {
			file, err := s.write("echo.js", nodeScript)
			return []string{file, s.host, s.port, s.certFile, s.certKey}, err
		},
	}
}

//go:embed scripts/echo.py
var pythonScript string

// Python is the ssl module of Python, which sends that many tickets on each
// TLS 1.3 connection.
func Python(tickets int) Program {
	return Program{
		Name: "Python ssl", Command: "python3", Package: "python3", Talk: Line,
		version: []string{"--version"},
		configure: func(s site) ([]string, error) {
			file, err := s.write("echo.py", pythonScript)
			return []string{file, s.host, s.port, s.certFile, s.certKey, strconv.Itoa(tickets)}, err
		},
	}
}
