package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
)

// The servers run in a child process, so that the CPU time of this one is the
// client's alone. It speaks JSON lines: first a greeting, then the counts of
// one server for each line "reset NAME" or "counts NAME". The command's name
// begins with what no user would type.
const childCommand = "_servers"

// serverName is in the certificate that all servers of the child share.
const serverName = "127.0.0.1"

// A greeting says whom to trust, in PEM, and who is there. The Go server comes
// first; s_server only where openssl is installed.
type greeting struct {
	CA      string
	Servers []target
}

type target struct{ Name, Addr string }

// serveChild serves until its input ends, and so never outlives its parent. An
// interrupt at the terminal goes to both, and is the parent's to act on: the
// child would die of it before it had removed its files and stopped s_server.
func serveChild(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt)
	ca, err := tlstest.NewCA("resumedemo")
	if err != nil {
		return err
	}
	cert, err := ca.Issue(tlstest.Leaf{Names: []string{serverName}})
	if err != nil {
		return err
	}
	server, err := tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}})
	if err != nil {
		return err
	}
	defer server.Close()
	hello := greeting{CA: string(ca.PEM()), Servers: []target{{"go", server.Addr}}}
	seen := map[string]*tlstest.Identities{"go": server.Identities}

	// s_server cannot say what was offered to it; a proxy before it can.
	openssl, err := peer.OpenSSL().Start(cert)
	switch {
	case err == nil:
		defer openssl.Close()
		proxy, err := tlstest.NewProxy(openssl.Addr, 1)
		if err != nil {
			return err
		}
		defer proxy.Close()
		hello.Servers = append(hello.Servers, target{"openssl s_server", proxy.Addr})
		seen["openssl s_server"] = proxy.Identities
	case !errors.Is(err, peer.ErrMissing):
		return err
	}
	return answer(in, json.NewEncoder(out), hello, seen)
}

// answer greets, and answers each line with the counts of the server that it
// names, after it has reset them if it says so.
func answer(in io.Reader, out *json.Encoder, hello greeting, seen map[string]*tlstest.Identities) error {
	if err := out.Encode(hello); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		verb, name, _ := strings.Cut(lines.Text(), " ")
		identities := seen[name]
		if identities == nil {
			return fmt.Errorf("no server %q", name)
		}
		if verb == "reset" {
			identities.Reset()
		}
		if err := out.Encode(identities.Counts()); err != nil {
			return err
		}
	}
	return nil
}

// servers are the child as its parent sees it.
type servers struct {
	greeting
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// startServers runs this program again as the child, and returns when all of
// its servers listen.
func startServers() (*servers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &servers{cmd: exec.Command(self, childCommand)}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.answers = json.NewDecoder(out)
	if err := s.answers.Decode(&s.greeting); err != nil {
		s.stop()
		return nil, fmt.Errorf("starting the servers: %w", err)
	}
	return s, nil
}

// ask waits for the answer; there is one for each line.
func (s *servers) ask(verb, name string) (counts tlstest.Counts, err error) {
	if _, err := fmt.Fprintln(s.in, verb, name); err != nil {
		return counts, err
	}
	return counts, s.answers.Decode(&counts)
}

// stop ends the child by ending its input. How it ends says nothing of the
// comparison, which is over.
func (s *servers) stop() {
	s.in.Close()
	s.cmd.Wait()
}
