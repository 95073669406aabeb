package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// serveOptions are what the flags of serve say.
type serveOptions struct {
	addr      string
	n         int // 0: until interrupted
	stateless bool
	tls12     bool
	cert, key string        // files; both or none
	cacert    string        // file to write the certificate to trust to
	lifetime  time.Duration // 0: what the cache takes for right
	store     storeOptions
}

// serveCommand is an HTTPS server that says of each session what becomes of it.
func serveCommand(args []string) error {
	o, err := parseServe(args)
	if o == nil || err != nil {
		return err
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &serving{left: o.n, enough: stop}
	if err := o.use(&s.cache); err != nil {
		return err
	}
	s.cache.Observe = s.observe
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(demo.Stdout, "listening on %s\n", listener.Addr())
	if err := s.serve(ctx, s.cache.NewListener(listener, config)); err != nil {
		return err
	}
	s.summary()
	return nil
}

// serve answers until ctx ends, and then those who have been accepted.
func (s *serving) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:     http.HandlerFunc(s.answer),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:   s.count,
		ErrorLog:    log.New(io.Discard, "", 0), // a client that fails is in no story of a session
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		s.enough() // a second signal ends the program at once
		closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		server.Shutdown(closing)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended // Serve does not wait for its connections
	return nil
}

// summary is the last line. A connection that outlived the server's patience
// may still be at it.
func (s *serving) summary() {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.cache.Stats()
	fmt.Fprintf(demo.Stdout, "%d full, %d resumed, %d sent, %d refused\n", st.Full, st.Resumed, st.Captured, st.Refused+st.Missed)
}

// parseServe returns nil without an error after -h.
func parseServe(args []string) (*serveOptions, error) {
	o := new(serveOptions)
	flags := flag.NewFlagSet("resumedemo serve", flag.ContinueOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "`address` to listen on")
	flags.IntVar(&o.n, "n", 0, "end after so many connections (0: when interrupted)")
	flags.BoolVar(&o.stateless, "stateless", false, "tickets that hold the session, sealed with the key of -keyfile or with a random one")
	flags.BoolVar(&o.tls12, "tls12", false, "TLS 1.2 at most")
	flags.StringVar(&o.cert, "cert", "", "PEM `file` of the certificate (default: one made for 127.0.0.1, ::1 and localhost)")
	flags.StringVar(&o.key, "key", "", "PEM `file` of its key")
	flags.StringVar(&o.cacert, "cacert", "", "`file` to write the made certificate's CA to, for clients to trust")
	flags.DurationVar(&o.lifetime, "lifetime", 0, "how long sessions can be resumed (default 24h)")
	o.store.Register(flags)
	if goOn, err := demo.Parse(flags, "[flags]", args); !goOn {
		return nil, err
	}
	return o, o.refuse(flags.NArg())
}

// refuse finds flags that contradict each other: to let one of them win would
// serve otherwise than somebody meant.
func (o *serveOptions) refuse(arguments int) error {
	switch {
	case arguments > 0:
		return fmt.Errorf("%w: serve takes flags only", demo.ErrUsage)
	case o.stateless && o.store.dir != "":
		return fmt.Errorf("%w: -stateless keeps no sessions, so -store makes no sense with it", demo.ErrUsage)
	case (o.cert == "") != (o.key == ""):
		return fmt.Errorf("%w: -cert and -key go together", demo.ErrUsage)
	case o.cert != "" && o.cacert != "":
		return fmt.Errorf("%w: -cacert is for a certificate that is made", demo.ErrUsage)
	case o.n < 0 || o.lifetime < 0:
		return fmt.Errorf("%w: -n and -lifetime must not be negative", demo.ErrUsage)
	case !o.stateless && o.store.dir == "":
		return o.store.idle()
	}
	return nil
}

// config has the certificate that is named, or one of a CA that is forgotten at
// once: clients that are to trust the next run, too, need a named one.
func (o *serveOptions) config() (*tls.Config, error) {
	config := &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	if o.tls12 {
		config.MaxVersion = tls.VersionTLS12
	}
	if o.cert != "" {
		cert, err := tls.LoadX509KeyPair(o.cert, o.key)
		config.Certificates = []tls.Certificate{cert}
		return config, err
	}
	ca, err := tlstest.NewCA("resumedemo")
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue(tlstest.Leaf{})
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{cert}
	if o.cacert != "" {
		err = os.WriteFile(o.cacert, ca.PEM(), 0o644)
	}
	return config, err
}

// use has the cache keep sessions where the flags say. A key that is made here
// makes tickets that no other run and no other server opens, and so needs no
// scope to keep it apart from any.
func (o *serveOptions) use(cache *resume.ServerCache) error {
	cache.Lifetime = o.lifetime
	switch {
	case o.stateless && o.store.keyFile == "":
		var key [32]byte
		rand.Read(key[:])
		keys, err := ticket.NewKeyring(key)
		cache.Keyring = keys
		return err
	case o.stateless:
		keys, err := demo.Keys("resumedemo", o.store.keyFile)
		cache.Keyring, cache.Scope = keys, o.store.scope
		return err
	case o.store.dir != "":
		store, keys, err := o.store.open()
		if err != nil {
			return err
		}
		cache.Store, cache.Scope = resume.Seal(store, keys), o.store.scope
	}
	return nil
}

// A serving is one run of serve.
type serving struct {
	cache resume.ServerCache

	mu     sync.Mutex // guards left and standard output
	left   int        // connections to go; without a limit it falls below zero
	enough func()     // ends the run
}

// connKey is where a request's context has the connection it came over.
type connKey struct{}

// answer says what is known of the connection it came over.
func (s *serving) answer(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	session := s.cache.Get0Session(conn)
	info := session.Info()
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s resumed=%t session=%s status=%v resumptions=%d\n",
		r.Proto, r.TLS.DidResume, info.ID, session.Status(), info.Resumptions)
}

// observe prints what happens, one line each, from inside the handshakes.
func (s *serving) observe(e resume.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := e.Session.Info()
	switch e.Kind {
	case resume.TicketCaptured:
		fmt.Fprintf(demo.Stdout, "sent     %-16s  to %s, %s, until %s\n", info.ID, info.Endpoint, tls.VersionName(info.Version), info.Expires.UTC().Format(time.DateTime))
	case resume.SessionMissing:
		fmt.Fprintf(demo.Stdout, "refused  %-16s  %s\n", "", reasonText(e.Reason))
	case resume.SessionEnded:
		fmt.Fprintf(demo.Stdout, "ended    %-16s  %s\n", info.ID, e.Reason)
	case resume.StoreFailed:
		fmt.Fprintf(os.Stderr, "resumedemo: store: %s: %v\n", e.Reason, e.Err)
	case resume.HandshakeDone:
		printHandshake(e)
	}
}

// count ends the server after the last connection; it counts their ends, so
// that the last is answered.
func (s *serving) count(_ net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateClosed {
		return
	}
	if s.left--; s.left == 0 {
		s.enough()
	}
}

// printHandshake counts from the full handshake on, of which the session that
// was resumed is already so many resumptions away.
func printHandshake(e resume.Event) {
	if e.Resumed {
		info := e.Session.Info()
		fmt.Fprintf(demo.Stdout, "resumed  %-16s  sent to %s, resumption %d since the full handshake\n", info.ID, info.Endpoint, info.Resumptions+1)
	} else {
		fmt.Fprintf(demo.Stdout, "full     %-16s  %s\n", "", reasonText(e.Reason))
	}
}

// reasonText explains the reasons that a server gives. One that is new since
// stands for itself.
func reasonText(reason string) string {
	switch reason {
	case "":
		return "no ticket was presented"
	case "stranger":
		return "stranger: the ticket was not made here, or for another name or policy"
	case "gone":
		return "gone: used, expired, evicted or removed before"
	case "one-only":
		return "one-only: another ticket of the same ClientHello was looked up"
	case "declined":
		return "declined: crypto/tls did not resume the session"
	case "store":
		return "store: it failed or was too slow"
	}
	return reason
}
