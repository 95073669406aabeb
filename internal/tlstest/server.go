package tlstest

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// A Server is a Go TLS server on loopback that counts the tickets presented to
// it where crypto/tls unwraps them. Its connections are echoed.
type Server struct {
	Addr       string
	Identities *Identities

	listener net.Listener
	mu       sync.Mutex // guards conns
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

// Options are the parts of a Server that tests change.
type Options struct {
	Config     *tls.Config         // required, with a certificate
	Addr       string              // empty: a free port of 127.0.0.1
	Identities *Identities         // nil: its own; several servers may share
	Handle     func(conn net.Conn) // nil: echo. The connection is closed after it
}

// NewServer starts a server; Close ends it. Its ticket keys are those of
// Config, so two servers made from one configuration share them.
func NewServer(opts Options) (*Server, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", opts.Addr)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Addr:       listener.Addr().String(),
		Identities: opts.Identities,
		listener:   listener,
		conns:      make(map[net.Conn]bool),
	}
	if s.Identities == nil {
		s.Identities = new(Identities)
	}
	handle := opts.Handle
	if handle == nil {
		handle = func(conn net.Conn) { io.Copy(conn, conn) }
	}
	config := Counting(opts.Config, s.Identities)
	s.running.Go(func() { s.accept(config, handle) })
	return s, nil
}

// Counting returns a configuration that counts the tickets of each connection.
// A configuration that wraps and unwraps sessions itself keeps doing so.
func Counting(base *tls.Config, all *Identities) *tls.Config {
	outer := base.Clone()
	inner := base.GetConfigForClient
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		mine := base
		if inner != nil {
			theirs, err := inner(hello)
			if err != nil {
				return nil, err
			}
			if theirs != nil {
				mine = theirs
			}
		}
		wrap, unwrap := mine.WrapSession, mine.UnwrapSession
		if wrap == nil {
			wrap = mine.EncryptTicket
		}
		if unwrap == nil {
			unwrap = mine.DecryptTicket
		}
		presenter := all.Connection()
		mine = mine.Clone()
		mine.GetConfigForClient = nil
		mine.WrapSession = wrap
		mine.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			presenter.Present(identity)
			return unwrap(identity, cs)
		}
		return mine, nil
	}
	return outer
}

// Close stops listening, closes all connections and waits for their ends.
func (s *Server) Close() {
	s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.running.Wait()
}

func (s *Server) accept(config *tls.Config, handle func(net.Conn)) {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		conn := tls.Server(raw, config)
		if !s.track(raw) {
			raw.Close()
			return
		}
		s.running.Go(func() {
			defer s.forget(raw)
			if conn.Handshake() == nil {
				handle(conn)
			}
			conn.Close()
			raw.Close()
		})
	}
}

func (s *Server) track(raw net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[raw] = true
	return true
}

func (s *Server) forget(raw net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, raw)
}
