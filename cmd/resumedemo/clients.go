package main

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/resume"
)

// A gate holds its connection's first flight back until all are ready.
type gate struct {
	net.Conn
	all  *sync.WaitGroup // counts those that are not ready
	once sync.Once
}

// arrive says that this one is ready, or will never be: one that fails before it
// writes would hold up all others for ever.
func (g *gate) arrive() { g.once.Do(g.all.Done) }

// Write waits at the first flight; later the group is at zero and nobody waits.
func (g *gate) Write(b []byte) (int, error) {
	g.arrive()
	g.all.Wait()
	return g.Conn.Write(b)
}

// A client makes TLS connections with a session cache: the standard library's,
// or this layer.
type client interface {
	name() string
	client(raw net.Conn) tlsConn
	captured() int // tickets so far
}

// A tlsConn is what a *tls.Conn and a *resume.Conn have in common.
type tlsConn interface {
	net.Conn
	ConnectionState() tls.ConnectionState
}

// standard is crypto/tls with the standard library's cache.
type standard struct {
	config *tls.Config
	puts   atomic.Int64
	tls.ClientSessionCache
}

// newStandard has 64 sessions, as a zero capacity means: more than the one that
// a single server can have of it.
func newStandard(config *tls.Config) client {
	s := &standard{config: config.Clone(), ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	s.config.ClientSessionCache = s
	return s
}

// Put counts, on its way into the standard cache.
func (s *standard) Put(key string, cs *tls.ClientSessionState) {
	if cs != nil {
		s.puts.Add(1)
	}
	s.ClientSessionCache.Put(key, cs)
}

func (s *standard) name() string                { return "standard" }
func (s *standard) captured() int               { return int(s.puts.Load()) }
func (s *standard) client(raw net.Conn) tlsConn { return tls.Client(raw, s.config) }

// layer is Scope.NewConn, the way in that takes a connection the program made
// itself, as gates need it.
type layer struct {
	cache  resume.ClientCache
	scope  *resume.Scope
	config *tls.Config
}

// newLayer has a cache of its own, so that every workload begins cold.
func newLayer(config *tls.Config) client {
	l := &layer{config: config}
	l.scope = l.cache.NewScope()
	return l
}

func (l *layer) name() string                { return "tlsresume" }
func (l *layer) captured() int               { return int(l.cache.Stats().Captured) }
func (l *layer) client(raw net.Conn) tlsConn { return l.scope.NewConn(raw, l.config) }

// exchange sends a line, reads the answer, which brings the tickets, and
// closes the connection.
func exchange(conn net.Conn) error {
	defer conn.Close()
	line := []byte("hello\n")
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := conn.Write(line); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, line)
	return err
}
