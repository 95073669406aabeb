package peer

import (
	"crypto/tls"
	"runtime"
	"strings"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// Go is the server of crypto/tls, of the Go release that compiled this. It
// runs in this process, and echoes.
func Go() Program {
	return Program{Name: "Go crypto/tls", Talk: Line}
}

type goServer struct{ *tlstest.Server }

func startGo(s site) (running, error) {
	server, err := tlstest.NewServer(tlstest.Options{
		Addr:   s.addr,
		Config: &tls.Config{Certificates: []tls.Certificate{s.certificate}},
	})
	if err != nil {
		return nil, err
	}
	return goServer{server}, nil
}

// A process that is being started elsewhere has a copy of the listener until it
// has become another program, and so the port may be taken a moment longer.
func (s goServer) stop() error {
	s.Close()
	return gone(s.Addr)
}

func goVersion() string { return strings.TrimPrefix(runtime.Version(), "go") }
