package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// ErrMissing says that a program is not on this machine.
var ErrMissing = errors.New("peer: program not found")

// A Program is a server that can be started, and how to speak with it.
type Program struct {
	Name    string               // of the program, whatever its arguments
	Command string               // what is run; empty for the Go server, which runs in this process
	Package string               // of Debian, that has the command
	Talk    func(net.Conn) error // one exchange, after which nothing is left to be read
	Serial  bool                 // serves one connection after the other

	looped    bool     // what it prints is its input
	forks     bool     // it has processes of its own
	version   []string // the arguments that make it say its version
	configure func(site) (args []string, err error)
}

// A site is what a configuration is made of.
type site struct {
	dir               string // for the files of this server
	addr, host, port  string
	certFile, certKey string // PEM
	certificate       tls.Certificate
}

// A Server is a Program that runs.
type Server struct {
	Addr string

	program Program
	site    site
	args    []string
	running running
}

// What is running can be stopped. It returns when nothing listens any more; a
// second time it does nothing.
type running interface{ stop() error }

// Start runs the program and waits until it listens. Close ends it.
func (p Program) Start(cert tls.Certificate) (_ *Server, err error) {
	if _, err := p.path(); err != nil {
		return nil, err
	}
	s := &Server{program: p, site: site{certificate: cert}}
	if s.site.dir, err = os.MkdirTemp("", "tlstest"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.site.dir))
		}
	}()
	if s.site.certFile, s.site.certKey, err = tlstest.WriteFiles(s.site.dir, cert); err != nil {
		return nil, err
	}
	if s.Addr, err = freeAddr(); err != nil {
		return nil, err
	}
	s.site.addr = s.Addr
	if s.site.host, s.site.port, err = net.SplitHostPort(s.Addr); err != nil {
		return nil, err
	}
	if p.configure != nil {
		if s.args, err = p.configure(s.site); err != nil {
			return nil, err
		}
	}
	return s, s.start()
}

// start leaves what ran before in its place if it fails, for Close.
func (s *Server) start() error {
	if s.program.Command == "" {
		return s.runs(startGo(s.site))
	}
	path, err := s.program.path()
	if err != nil {
		return err
	}
	return s.runs(s.program.run(exec.Command(path, s.args...), s.site))
}

func (s *Server) runs(server running, err error) error {
	if err == nil {
		s.running = server
	}
	return err
}

// Restart kills the server and starts it again at the same address, with the
// same certificate. The keys of its tickets are new.
func (s *Server) Restart() error {
	if err := s.running.stop(); err != nil {
		return err
	}
	return s.start()
}

// Close kills the server and removes its files.
func (s *Server) Close() error {
	return errors.Join(s.running.stop(), os.RemoveAll(s.site.dir))
}

// Version is what the program says of itself, the number only.
func (p Program) Version() (string, error) {
	if p.Command == "" {
		return goVersion(), nil
	}
	path, err := p.path()
	if err != nil {
		return "", err
	}
	said, err := exec.Command(path, p.version...).CombinedOutput()
	if number := versionNumber.Find(said); err == nil && number != nil {
		return string(number), nil
	}
	return "", fmt.Errorf("peer: %s does not say its version: %w: %s", path, err, said)
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+[^\s)]*`)

// packaged is where Debian puts programs. That comes first: what a version
// manager puts into PATH is another program. Not everybody has sbin in it.
var packaged = []string{"/usr/sbin", "/usr/bin"}

func (p Program) path() (string, error) {
	if p.Command == "" {
		return "", nil
	}
	for _, dir := range packaged {
		if path, err := exec.LookPath(filepath.Join(dir, p.Command)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(p.Command)
	if err != nil {
		return "", fmt.Errorf("%w: %s (Debian: %s)", ErrMissing, p.Command, p.Package)
	}
	return path, nil
}

// write puts a file into the server's directory and returns its path.
func (s site) write(name, content string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
