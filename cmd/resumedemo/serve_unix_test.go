//go:build unix

package main

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServeEndsWhenItIsToldTo(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		s := startServe(t)
		s.dial("2")
		require.NoError(t, s.cmd.Process.Signal(sig))
		verbs, out := s.end()
		require.Equal(t, []string{"sent", "full", "ended", "sent", "resumed", "1"}, verbs, out)
		require.Contains(t, out, "\n1 full, 1 resumed, 2 sent, 0 refused\n")
	}
}

// hold has the server accept a connection and wait for a handshake, for which
// http.Server.Shutdown gives it five seconds.
func (s *demoServer) hold() *tls.Conn {
	s.t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	raw, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { raw.Close() })
	require.NoError(s.t, raw.SetDeadline(time.Now().Add(dialTimeout)))
	later, err := tls.Dial("tcp", s.addr, config) // is accepted after it
	require.NoError(s.t, err)
	later.Close()
	return tls.Client(raw, config)
}

func TestServeEndsAfterItsConnections(t *testing.T) {
	s := startServe(t)
	conn := s.hold()
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	s.awaitDeaf()
	require.NoError(t, conn.Handshake(), "it was cut off")
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, conn) // answered or not, as the server likes
	require.NoError(t, err, "it was cut off")
	_, out := s.end()
	require.Contains(t, out, "\n2 full, 0 resumed, ")
}

// Who does not want to wait for that says so twice.
func TestASecondSignalEndsServeAtOnce(t *testing.T) {
	s := startServe(t)
	s.hold()
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	s.awaitDeaf()
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	io.Copy(io.Discard, s.out)
	s.cmd.Wait()
	status := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled() && status.Signal() == syscall.SIGINT, s.cmd.ProcessState)
}

// awaitDeaf waits until the server accepts nobody more.
func (s *demoServer) awaitDeaf() {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(dialTimeout); ; <-tick.C {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			return
		}
		conn.Close()
		require.True(s.t, time.Now().Before(deadline), "it listens still")
	}
}
