//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// Who has seen enough is told what there was, and loses no session of it but the
// one that was in use.
func TestAnInterruptedDialTellsAndKeepsWhatItHas(t *testing.T) {
	server, trusted := dialTarget(t)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		offered := server.Identities.Counts().Offered
		s := &shelf{t: t, dir: filepath.Join(t.TempDir(), "sessions"), key: filepath.Join(t.TempDir(), "key")}
		cmd := process.Command(append(trusted, "-json", "-n", "1000000", "-store", s.dir, "-keyfile", s.key, server.Addr)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out := bufio.NewScanner(tlstest.Must(cmd.StdoutPipe()))
		require.NoError(t, cmd.Start())
		defer cmd.Process.Kill()
		require.True(t, out.Scan(), &stderr)
		require.NoError(t, cmd.Process.Signal(sig))
		lines, last := 1, ""
		for ; out.Scan(); lines++ {
			last = out.Text()
		}
		require.Error(t, cmd.Wait())
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), &stderr)
		require.Equal(t, "resumedemo: interrupted\n", stderr.String())
		var sum struct{ Connections, Captured int }
		require.NoError(t, json.Unmarshal([]byte(last), &sum), last)
		require.Equal(t, lines-1, sum.Connections, "those that were begun, and no more")
		// All but what went out on the connection that was broken off, which the
		// server may hear of later.
		kept := len(s.json("list"))
		require.Eventually(t, func() bool {
			return kept == sum.Captured-(server.Identities.Counts().Offered-offered)
		}, 10*time.Second, time.Millisecond, "%d sessions are there for the next run: %s", kept, last)
	}
	require.Zero(t, server.Identities.Counts().Reused)
}

// A server that says nothing holds nobody up who wants to end.
func TestAnInterruptedDialWaitsForNoServer(t *testing.T) {
	mute := tlstest.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer mute.Close()
	cmd := process.Command("dial", "-insecure", "-n", "2", "-c", "1", mute.Addr().String())
	var out bytes.Buffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	conn := tlstest.Must(mute.Accept())
	defer conn.Close()
	_, err := io.ReadFull(conn, make([]byte, 1)) // it is in its handshake
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), "ended of itself")
	require.Contains(t, out.String(), "1 connections, 0 full, 0 resumed, 0 tickets")
	require.Contains(t, out.String(), "context canceled")
}

// An interrupt at a terminal goes to the program and to its servers. They clean
// up, and so wait until their parent is gone.
func TestAnInterruptLeavesNoFilesOfTheServers(t *testing.T) {
	temp := t.TempDir()
	cmd := process.Command(childCommand)
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	in := tlstest.Must(cmd.StdinPipe())
	out := json.NewDecoder(tlstest.Must(cmd.StdoutPipe()))
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	var hello greeting
	require.NoError(t, out.Decode(&hello))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_, err := io.WriteString(in, "counts go\n")
	require.NoError(t, err)
	var counts tlstest.Counts
	require.NoError(t, out.Decode(&counts), "it answers still")
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A reader that has seen enough, such as head, ends the program as it ends any
// other: at once, with nothing to say.
func TestAPipeThatIsClosedEndsTheProgram(t *testing.T) {
	server, trusted := dialTarget(t)
	cmd := process.Command(append(trusted, "-n", "1000000", server.Addr)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out := tlstest.Must(cmd.StdoutPipe())
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	_, err := io.ReadFull(out, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, out.Close())
	require.Error(t, cmd.Wait())
	require.Equal(t, syscall.SIGPIPE, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	require.Empty(t, stderr.String())
}

// What a server's certificate says is the server's word: it must not reach a
// terminal as an escape sequence.
func TestAServersNameCannotWriteToTheTerminal(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	leaf := tlstest.Leaf{Names: []string{"evil\x1b]0;owned\x07.example"}}
	cert, err := ca.Issue(leaf)
	require.NoError(t, err)
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, ca.PEM(), 0o600))
	_, port, _ := net.SplitHostPort(server.Addr)
	out, stderr, status := process.Run(t, "dial", "-cafile", file, "-n", "1", "localhost:"+port)
	require.Equal(t, 1, status)
	for _, text := range []string{out, stderr} {
		require.Contains(t, text, "owned", "the certificate's name is not in the error at all")
		for _, r := range strings.TrimRight(strings.ReplaceAll(text, "\n", ""), "\n") {
			require.True(t, strconv.IsPrint(r), "%q", text)
		}
	}
}
