// Package demo is what the programs that show session resumption at work have
// in common: the command that dials, the key that a program keeps, and how a
// program ends.
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

const (
	dialTimeout = 10 * time.Second
	patience    = 250 * time.Millisecond // for a ticket without -wait, and for the peer's end
	maxBody     = 1 << 20
)

type dialOptions struct {
	n, c   int
	path   string
	wait   bool
	asJSON bool
	host   string
	config *tls.Config
}

// A Keeper says where sessions outlive the program.
type Keeper interface {
	// Register adds its flags.
	Register(*flag.FlagSet)
	// Use has the cache use the store, if there is one, and returns the scope for
	// all connections.
	Use(*resume.ClientCache) (*resume.Scope, error)
}

// Dial is the command of a name that dials a TLS server and says what resumed.
func Dial(name string, args []string, keeper Keeper) error {
	o, err := parseDial(name, args, keeper)
	if o == nil || err != nil {
		return err
	}
	r := &dialing{program: strings.Fields(name)[0], options: o, done: map[*resume.Conn]resume.Event{}, tickets: map[*resume.Conn]int{}}
	r.cache.Observe = r.observe
	scope, err := keeper.Use(&r.cache)
	if err != nil {
		return err
	}
	r.dialer = &resume.Dialer{Scope: scope, Config: o.config}
	var group errgroup.Group
	group.SetLimit(o.c)
	for i := range o.n {
		group.Go(func() error { r.connection(i + 1); return nil })
	}
	group.Wait()
	r.note(r.cache.Close()) // which writes what came last
	r.summary()
	return r.failure
}

// note keeps the first error for the end.
func (r *dialing) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = err
	}
}

// parseDial returns nil without an error after -h.
func parseDial(name string, args []string, keeper Keeper) (*dialOptions, error) {
	o := &dialOptions{config: new(tls.Config)}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
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
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Printf("usage: %s [flags] host:port\n", name)
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	o.host = flags.Arg(0)
	if _, _, err := net.SplitHostPort(o.host); err != nil || flags.NArg() != 1 {
		return nil, fmt.Errorf("%w: %s wants one host:port after its flags", ErrUsage, name)
	}
	if o.n < 1 || o.c < 1 {
		return nil, fmt.Errorf("%w: -n and -c must be at least 1", ErrUsage)
	}
	if *alpn != "" {
		o.config.NextProtos = strings.Split(*alpn, ",")
	}
	if *tls12 {
		o.config.MaxVersion = tls.VersionTLS12
	}
	if *cafile == "" {
		return o, nil
	}
	text, err := os.ReadFile(*cafile)
	if err != nil {
		return nil, err
	}
	o.config.RootCAs = x509.NewCertPool()
	if !o.config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", *cafile)
	}
	return o, nil
}

// A dialing is one run of dial.
type dialing struct {
	program string
	options *dialOptions
	cache   resume.ClientCache
	dialer  *resume.Dialer

	mu            sync.Mutex // guards the rest, and standard output
	done          map[*resume.Conn]resume.Event
	tickets       map[*resume.Conn]int
	full, resumed int
	failure       error
}

// observe notes what the cache says of each connection.
func (r *dialing) observe(e resume.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case resume.HandshakeDone:
		r.done[e.Conn] = e
	case resume.TicketCaptured:
		r.tickets[e.Conn]++
	case resume.StoreFailed:
		fmt.Fprintf(os.Stderr, "%s: store: %s: %v\n", r.program, e.Reason, e.Err)
	}
}

// A Line is what is printed of a connection.
type Line struct {
	N         int     `json:"n"`
	Resumed   bool    `json:"resumed"`
	Session   string  `json:"session,omitempty"`
	Endpoint  string  `json:"endpoint,omitempty"`
	Received  int     `json:"received"`
	Handshake float64 `json:"handshake_ms"`
	Reason    string  `json:"reason,omitempty"`
	Error     string  `json:"error,omitempty"`
}

func (r *dialing) connection(n int) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	began := time.Now()
	conn, err := r.dialer.DialContext(ctx, "tcp", r.options.host)
	took := time.Since(began)
	l := Line{N: n, Handshake: float64(took.Microseconds()) / 1000}
	if err != nil {
		l.Error = err.Error()
		r.print(l, fmt.Errorf("connection %d: %w", n, err))
		return
	}
	defer conn.Close()
	l.Session = conn.Get0Session().Info().ID
	l.Endpoint = conn.RemoteAddr().String()
	if err = r.talk(ctx, conn, took); err != nil {
		l.Error = err.Error()
	}
	if l.Session == "" {
		l.Session = conn.Get0Session().Info().ID
	}
	r.mu.Lock()
	l.Received = r.tickets[conn]
	l.Resumed, l.Reason = r.done[conn].Resumed, r.done[conn].Reason
	delete(r.tickets, conn)
	delete(r.done, conn)
	r.mu.Unlock()
	r.print(l, err)
}

// talk makes its request, waits for a session and shuts the connection down,
// which brings the rest of them.
func (r *dialing) talk(ctx context.Context, conn *resume.Conn, took time.Duration) error {
	if r.options.path != "" {
		if err := r.get(conn); err != nil {
			return err
		}
	}
	moment := max(patience, 2*took)
	waiting := ctx
	if !r.options.wait {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, moment)
		defer cancel()
	}
	_, err := conn.WaitSession(waiting)
	switch {
	case err == nil || errors.Is(err, resume.ErrNoTicket):
	case errors.Is(err, context.DeadlineExceeded) && !r.options.wait:
	default:
		return err
	}
	closing, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	conn.Shutdown(closing) // some peers do not answer
	return nil
}

func (r *dialing) get(conn *resume.Conn) error {
	host, _, _ := net.SplitHostPort(r.options.host)
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", r.options.path, host); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(conn, maxBody))
	return err
}

func (r *dialing) print(l Line, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := "full"
	switch {
	case l.Error != "":
		kind = "failed"
		if r.failure == nil {
			r.failure = err
		}
	case l.Resumed:
		kind = "resumed"
		r.resumed++
	default:
		r.full++
	}
	if r.options.asJSON {
		json.NewEncoder(os.Stdout).Encode(l)
		return
	}
	text := fmt.Sprintf("%3d  %-7s  %7.2f ms  tickets %d  session %-16s  %s", l.N, kind, l.Handshake, l.Received, l.Session, l.Endpoint)
	switch l.Reason {
	case "":
	case "none":
		text += "  no session was there"
	default:
		text += "  " + l.Reason
	}
	if l.Error != "" {
		text += "  " + l.Error
	}
	fmt.Println(text)
}

func (r *dialing) summary() {
	captured := r.cache.Stats().Captured
	if r.options.asJSON {
		fmt.Printf(`{"connections":%d,"full":%d,"resumed":%d,"captured":%d}`+"\n", r.options.n, r.full, r.resumed, captured)
		return
	}
	fmt.Printf("%d connections, %d full, %d resumed, %d tickets\n", r.options.n, r.full, r.resumed, captured)
}
