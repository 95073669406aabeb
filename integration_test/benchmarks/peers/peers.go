package peers

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// Peers are the child as its parent sees it.
type Peers struct {
	Servers []Server
	Missing []string
	Config  *tls.Config // for clients: it trusts the servers

	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// Start starts this program again with the arguments that make it call Serve.
func Start(args ...string) (*Peers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Peers{cmd: exec.Command(self, args...)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.answers = json.NewDecoder(out)
	var g greeting
	if err := p.answers.Decode(&g); err != nil {
		return nil, fmt.Errorf("peers: starting the servers: %w", errors.Join(err, p.Close()))
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(g.CA))
	p.Servers, p.Missing = g.Servers, g.Missing
	p.Config = &tls.Config{RootCAs: roots, ServerName: ServerName}
	return p, nil
}

// Reset forgets what a server has seen.
func (p *Peers) Reset(server string) error {
	_, err := p.ask("reset " + server)
	return err
}

// Expect makes a server answer the next connections when all n have come.
func (p *Peers) Expect(server string, n int) error {
	_, err := p.ask(fmt.Sprintf("expect %s %d", server, n))
	return err
}

// Counts is what a server has seen since Reset.
func (p *Peers) Counts(server string) (tlstest.Counts, error) {
	return p.ask("counts " + server)
}

func (p *Peers) ask(line string) (counts tlstest.Counts, err error) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return counts, fmt.Errorf("peers: %w", err)
	}
	if err := p.answers.Decode(&counts); err != nil {
		return counts, fmt.Errorf("peers: %w", err)
	}
	return counts, nil
}

// Close ends the child and waits for its end.
func (p *Peers) Close() error {
	p.in.Close()
	return p.cmd.Wait()
}
