package inmemory

import (
	"crypto/tls"
	"net"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// A Server answers every byte that it reads with one.
type Server struct {
	Config *tls.Config // for clients: it trusts the server

	addr   *net.TCPAddr
	config *tls.Config
	ends   chan *End
}

// NewServer starts a server with a certificate of its own. Close ends it.
func NewServer() (*Server, error) {
	const name = "server.test"
	ca, err := tlstest.NewCA("bench")
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue(tlstest.Leaf{Names: []string{name}})
	if err != nil {
		return nil, err
	}
	s := &Server{
		Config: &tls.Config{RootCAs: ca.Pool(), ServerName: name},
		addr:   &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443},
		config: &tls.Config{Certificates: []tls.Certificate{cert}},
		ends:   make(chan *End),
	}
	go s.serve()
	return s, nil
}

// Close ends the server.
func (s *Server) Close() { close(s.ends) }

// Dial is the client's end of a new connection.
func (s *Server) Dial() *End { return s.DialAt(s.addr) }

// DialAt is Dial, and lets the connection lead to an address.
func (s *Server) DialAt(addr *net.TCPAddr) *End {
	client, server := Pair(addr)
	s.ends <- server
	return client
}

// serve serves one connection after the other.
func (s *Server) serve() {
	var b [1]byte
	for end := range s.ends {
		conn := tls.Server(end, s.config)
		for {
			if _, err := conn.Read(b[:]); err != nil {
				break
			}
			if _, err := conn.Write(b[:]); err != nil {
				break
			}
		}
		conn.Close()
	}
}
