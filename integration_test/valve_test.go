package integration_test

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A valve is a TCP proxy in front of a server that holds back what the server
// sends after the handshake, its tickets, until it is opened.
type valve struct {
	Addr string

	target string
	open   chan struct{}
	once   sync.Once
}

func newValve(t testing.TB, target string) *valve {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	v := &valve{Addr: listener.Addr().String(), target: target, open: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { v.serve(client) })
		}
	})
	t.Cleanup(func() {
		v.release()
		listener.Close()
		running.Wait()
	})
	return v
}

func (v *valve) release() { v.once.Do(func() { close(v.open) }) }

func (v *valve) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", v.target)
	if err != nil {
		return
	}
	defer server.Close()
	finished := make(chan struct{})
	var back sync.WaitGroup
	back.Go(func() {
		pump(client, server, func() {
			select {
			case <-finished:
				<-v.open
			default:
			}
		})
		client.(*net.TCPConn).CloseWrite()
	})
	flights := 0
	pump(server, client, func() {
		// The second flight answers the server's first: it has Finished in it,
		// and what the server sends after it are tickets.
		if flights++; flights == 2 {
			close(finished)
		}
	})
	server.(*net.TCPConn).CloseWrite()
	back.Wait()
}

// pump copies and calls before for each piece.
func pump(to, from net.Conn, before func()) {
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		if n > 0 {
			before()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
