package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

func TestMain(m *testing.M) { process.Main(m, run) }

// target is a Go server, and the flags that make the program trust it.
func target(t *testing.T) (server *tlstest.Server, flags []string) {
	t.Helper()
	server, file := process.Target(t)
	return server, []string{"-cafile", file, "-keyfile", filepath.Join(t.TempDir(), "key"), "-c", "1"}
}

// startRedis starts a server that is killed with the test.
func startRedis(t *testing.T) (addr string) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("TLSRESUME_REQUIRE_PEERS") != "" {
			t.Fatal("redis-server is missing and peers are required")
		}
		t.Skip("redis-server is missing: nothing here was tested")
	}
	addr = unused(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	out := tlstest.Must(cmd.StdoutPipe())
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var log []byte
	for buffer := make([]byte, 4096); !bytes.Contains(log, []byte("Ready to accept")); {
		n, err := out.Read(buffer)
		require.NoError(t, err, string(log))
		log = append(log, buffer[:n]...)
	}
	return addr
}

// unused is an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// On a slow machine a handshake may not have waited for Redis; then the next run
// resumes.
func TestTheSecondRunResumesFromTheFirst(t *testing.T) {
	server, flags := target(t)
	addr := startRedis(t)
	dial := func(redis string) string {
		out, stderr, status := process.Run(t, append(flags, "-redis", redis, "-n", "2", server.Addr)...)
		require.Zero(t, status, stderr)
		return out
	}
	require.Contains(t, dial(addr), "  1  full ")
	for _, redis := range []string{addr, "redis://" + addr} {
		var out string
		for range 10 {
			if out = dial(redis); strings.HasSuffix(out, "2 connections, 0 full, 2 resumed, 2 tickets\n") {
				break
			}
		}
		require.Contains(t, out, " 0 full, 2 resumed,")
	}
	require.Zero(t, server.Identities.Counts().Reused)
}

// Without its Redis it dials all the same, and says so.
func TestWithoutRedisItConnects(t *testing.T) {
	server, flags := target(t)
	out, stderr, status := process.Run(t, append(flags, "-redis", unused(t), "-n", "3", server.Addr)...)
	require.Equal(t, 1, status, out) // what came last could not be stored
	require.Contains(t, stderr, "redisdemo: store: ")
	require.Contains(t, out, "\n3 connections, ")
	require.NotContains(t, out, "failed")
	require.Zero(t, server.Identities.Counts().Reused)
}

func TestErrorsAreAStatusAndNoPassword(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		why    string
	}{
		{[]string{"-h"}, 0, "help"},
		{[]string{"127.0.0.1:1"}, 2, "no Redis"},
		{[]string{"-redis", "127.0.0.1:1"}, 2, "no server"},
		{[]string{"-redis", "127.0.0.1:1", "-replicas", "1", "127.0.0.1:1"}, 2, "replicas without survive"},
		{[]string{"-redis", "redis://user:hunter2@%zz", "127.0.0.1:1"}, 2, "no URL"},
		{[]string{"-redis", "http://user:hunter2@host", "127.0.0.1:1"}, 2, "another URL"},
	} {
		out, stderr, status := process.Run(t, test.args...)
		require.Equal(t, test.status, status, "%s: %s", test.why, stderr)
		require.NotContains(t, out+stderr, "hunter2", test.why)
	}
}
