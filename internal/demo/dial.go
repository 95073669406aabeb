// Package demo is what the programs that show session resumption at work have
// in common: the command that dials, the key that a program keeps, and how a
// program ends.
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/tlsresume/tlsresume/resume"
)

const (
	// dialTimeout bounds one connection from its dial to its end.
	dialTimeout = 10 * time.Second
	// patience is how long a connection waits for a ticket without -wait, and
	// then for the peer's end. Both wait for the network only, so twice the
	// handshake's time takes its place where that is longer.
	patience = 250 * time.Millisecond
	// maxBody ends the reading of an answer that never ends, in bytes.
	maxBody = 1 << 20
)

// A Keeper says where sessions outlive the program.
type Keeper interface {
	// Register adds its flags.
	Register(*flag.FlagSet)
	// Use has the cache use the store, if there is one, and returns the scope for
	// all connections.
	Use(*resume.ClientCache) (*resume.Scope, error)
}

// Dial is the command of a name that dials a TLS server and says what resumed.
//
// An interrupt ends it early but not at once: what was seen is still summed up,
// and sessions that wait for the store are still written there, since a ticket
// that is lost costs the next run a full handshake. A second one ends it.
func Dial(name string, args []string, keeper Keeper) error {
	o, err := parseDial(name, args, keeper)
	if o == nil || err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from now on signals do what they always do

	program, _, _ := strings.Cut(name, " ")
	r := newDialing(program, o)
	scope, err := keeper.Use(&r.cache)
	if err != nil {
		return err
	}
	r.dialer = &resume.Dialer{Scope: scope, Config: o.config}
	r.run(ctx)
	closed := r.cache.Close() // which writes what came last
	r.summary()
	switch {
	case ctx.Err() != nil: // the failures it led to would only hide it
		return errors.New("interrupted")
	case r.failure != nil:
		return r.failure
	}
	return closed
}

// dialOptions are what the flags of dial say.
type dialOptions struct {
	n, c   int    // connections in all, and at a time
	path   string // for HTTP; empty: nothing is sent
	wait   bool
	asJSON bool
	host   string // host:port
	config *tls.Config
}

// parseDial returns nil without an error after -h.
func parseDial(name string, args []string, keeper Keeper) (*dialOptions, error) {
	o := &dialOptions{config: new(tls.Config)}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.IntVar(&o.n, "n", 10, "connections")
	flags.IntVar(&o.c, "c", 4, "connections in parallel")
	cafile := flags.String("cafile", "", "PEM `file` of the roots to trust")
	flags.BoolVar(&o.config.InsecureSkipVerify, "insecure", false, "do not verify the server")
	flags.StringVar(&o.config.ServerName, "servername", "", "server `name` instead of the host")
	alpn := flags.String("alpn", "", "protocols to offer, such as h2,http/1.1")
	tls12 := flags.Bool("tls12", false, "TLS 1.2 at most")
	flags.StringVar(&o.path, "http", "", "GET this `path` on every connection")
	flags.BoolVar(&o.wait, "wait", false, "wait for a session on every connection")
	flags.BoolVar(&o.asJSON, "json", false, "one JSON object per line")
	keeper.Register(flags)
	if goOn, err := Parse(flags, "[flags] host:port", args); !goOn {
		return nil, err
	}
	o.host = flags.Arg(0)
	if *alpn != "" {
		o.config.NextProtos = strings.Split(*alpn, ",")
	}
	if *tls12 {
		o.config.MaxVersion = tls.VersionTLS12
	}
	if err := o.refuse(name, flags.NArg()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return o, o.trust(*cafile)
}

// refuse finds what no connection could come of, or another request than the
// one that was meant, before the first server is bothered with it.
func (o *dialOptions) refuse(name string, hosts int) error {
	switch _, port, err := net.SplitHostPort(o.host); {
	case hosts != 1 || err != nil || port == "":
		return fmt.Errorf("%s wants one host:port after its flags", name)
	case o.n < 1 || o.c < 1:
		return errors.New("-n and -c must be at least 1")
	case o.path != "" && !isRequestTarget(o.path):
		return errors.New("-http wants a path that begins with / and has no spaces")
	}
	for _, protocol := range o.config.NextProtos {
		if protocol == "" || len(protocol) > 255 { // RFC 7301, Section 3.1
			return errors.New("-alpn wants protocols of 1 to 255 bytes each")
		}
	}
	return nil
}

// isRequestTarget is about the request line, which a space or the end of a line
// would end before its time.
func isRequestTarget(path string) bool {
	return strings.HasPrefix(path, "/") &&
		!strings.ContainsFunc(path, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// trust has the roots in a file replace those of the system.
func (o *dialOptions) trust(cafile string) error {
	if cafile == "" {
		return nil
	}
	text, err := os.ReadFile(cafile)
	if err != nil {
		return err
	}
	o.config.RootCAs = x509.NewCertPool()
	if !o.config.RootCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("no certificate in %s", cafile)
	}
	return nil
}
