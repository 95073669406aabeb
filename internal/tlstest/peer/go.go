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

func startGo(s site) (goServer, error) {
	server, err := tlstest.NewServer(tlstest.Options{
		Addr:   s.addr,
		Config: &tls.Config{Certificates: []tls.Certificate{s.certificate}},
	})
	return goServer{server}, err
}

func (s goServer) stop() error {
	s.Close()
	return nil
}

func goVersion() string { return strings.TrimPrefix(runtime.Version(), "go") }
