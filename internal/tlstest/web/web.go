// Package web is a web site on loopback, and a request to it.
package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// patience bounds a request.
const patience = 20 * time.Second

// A Site is an http.Server that answers with the protocol of the request.
// Requests for /together wait until as many are there as its crowd, so that
// HTTP/1.1 needs a connection for each.
type Site struct {
	URL string

	server  *http.Server
	running sync.WaitGroup

	mu      sync.Mutex // guards waiting and gate
	crowd   int
	waiting int
	gate    chan struct{}
}

// Start starts one; Close ends it.
func Start(config *tls.Config, crowd int) (*Site, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Site{URL: "https://" + listener.Addr().String(), crowd: crowd, gate: make(chan struct{})}
	s.server = &http.Server{
		Handler:   http.HandlerFunc(s.answer),
		TLSConfig: config,
		ErrorLog:  log.New(io.Discard, "", 0), // it tells of every connection closed early
	}
	s.running.Go(func() { s.server.ServeTLS(listener, "", "") })
	return s, nil
}

// Close closes all connections and waits for the server's end.
func (s *Site) Close() {
	s.server.Close()
	s.running.Wait()
}

func (s *Site) answer(out http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/together" {
		s.mu.Lock()
		gate := s.gate
		if s.waiting++; s.waiting == s.crowd {
			s.waiting, s.gate = 0, make(chan struct{})
			close(gate)
		}
		s.mu.Unlock()
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
	fmt.Fprint(out, r.Proto)
}

// Fetch makes a request and says what protocol it used and whether its
// connection was resumed.
func Fetch(client *http.Client, url string) (proto string, resumed bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", false, err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", false, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), response.TLS.DidResume, err
}
