// Package peers runs the servers that clients are measured against in a child
// process, so that the CPU time of this one is the clients' alone.
package peers

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
)

// The servers, as they are called. In front of each is a proxy, which counts
// the tickets that go by.
const (
	Go      = "go"
	Nginx   = "nginx"
	OpenSSL = "openssl"
)

// ServerName is in the certificate that they share.
const ServerName = "server.test"

// Request is what each of them answers with at least AnswerSize bytes. The Go
// server echoes it, s_server its lines, reversed.
const (
	Request    = "GET / HTTP/1.0\r\n\r\n"
	AnswerSize = 4
)

// A greeting is what the child says first. After it, it answers one line, a
// verb, the name of a server and perhaps a number, with its counts.
type greeting struct {
	CA      string
	Servers []Server
	Missing []string // servers that this machine does not have, and why
}

// A Server is one of them.
type Server struct{ Name, Addr string }

// A child is the servers at home.
type child struct {
	greeting
	cert    tls.Certificate
	proxies map[string]*tlstest.Proxy
	gates   map[string]*tlstest.Gate
	closers []func()
}

// Serve serves until its input ends, and so never outlives its parent.
func Serve(in io.Reader, out io.Writer) error {
	c := &child{proxies: make(map[string]*tlstest.Proxy), gates: make(map[string]*tlstest.Gate)}
	defer c.close()
	if err := c.start(); err != nil {
		return err
	}
	answers := json.NewEncoder(out)
	if err := answers.Encode(c.greeting); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		counts, err := c.do(strings.Fields(lines.Text()))
		if err != nil {
			return err
		}
		if err := answers.Encode(counts); err != nil {
			return err
		}
	}
	return nil
}

func (c *child) close() {
	for _, stop := range c.closers {
		defer stop()
	}
}

func (c *child) start() (err error) {
	ca, err := tlstest.NewCA("bench")
	if err != nil {
		return err
	}
	c.CA = string(ca.PEM())
	if c.cert, err = ca.Issue(tlstest.Leaf{Names: []string{ServerName}}); err != nil {
		return err
	}
	server, err := tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{c.cert}}})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, server.Close)
	if err := c.add(Go, server.Addr, 256); err != nil {
		return err
	}
	if err := c.addProgram(Nginx, peer.Nginx(), 256); err != nil {
		return err
	}
	return c.addProgram(OpenSSL, peer.OpenSSL(), 1) // it serves one connection after the other
}

func (c *child) addProgram(name string, program peer.Program, parallel int) error {
	server, err := program.Start(c.cert)
	if errors.Is(err, peer.ErrMissing) {
		c.Missing = append(c.Missing, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() { server.Close() })
	return c.add(name, server.Addr, parallel)
}

// add puts a proxy in front of a server.
func (c *child) add(name, addr string, parallel int) error {
	gate := new(tlstest.Gate)
	proxy, err := tlstest.NewHoldingProxy(addr, parallel, gate.Wait)
	if err != nil {
		return err
	}
	c.proxies[name], c.gates[name] = proxy, gate
	c.closers = append(c.closers, proxy.Close, func() { gate.Expect(0) })
	c.Servers = append(c.Servers, Server{name, proxy.Addr})
	return nil
}

// do obeys one line.
func (c *child) do(words []string) (counts tlstest.Counts, err error) {
	if len(words) < 2 || c.proxies[words[1]] == nil {
		return counts, fmt.Errorf("peers: no server in %q", words)
	}
	name := words[1]
	switch words[0] {
	case "reset":
		c.proxies[name].Identities.Reset()
	case "expect":
		if len(words) < 3 {
			return counts, fmt.Errorf("peers: no number in %q", words)
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return counts, fmt.Errorf("peers: %w", err)
		}
		c.gates[name].Expect(n)
	case "counts":
	default:
		return counts, fmt.Errorf("peers: unknown verb in %q", words)
	}
	return c.proxies[name].Identities.Counts(), nil
}
