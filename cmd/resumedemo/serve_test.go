package main

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// A demoServer is resumedemo serve as a process of its own.
type demoServer struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string
	cafile string
	out    *bufio.Reader
	errs   bytes.Buffer
}

func startServe(t *testing.T, args ...string) *demoServer {
	t.Helper()
	s := &demoServer{t: t, cafile: filepath.Join(t.TempDir(), "ca.pem")}
	s.cmd = process.Command(append([]string{"serve", "-cacert", s.cafile}, args...)...)
	s.cmd.Stderr = &s.errs
	out := tlstest.Must(s.cmd.StdoutPipe())
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	require.NoError(t, err)
	var ok bool
	s.addr, ok = strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, line)
	return s
}

// end waits for the server and returns what it printed, by the first word of
// each line.
func (s *demoServer) end() (verbs []string, out string) {
	s.t.Helper()
	rest, err := io.ReadAll(s.out)
	require.NoError(s.t, err)
	require.NoError(s.t, s.cmd.Wait(), s.errs.String())
	require.Empty(s.t, s.errs.String())
	for line := range strings.Lines(string(rest)) {
		verbs = append(verbs, strings.Fields(line)[0])
	}
	return verbs, string(rest)
}

// dial makes connections one after the other.
func (s *demoServer) dial(n string, args ...string) {
	s.t.Helper()
	args = append([]string{"dial", "-cafile", s.cafile, "-c", "1", "-n", n, "-http", "/", "-wait"}, args...)
	out, stderr, status := process.Run(s.t, append(args, s.addr)...)
	require.Zero(s.t, status, out+stderr)
}

// dialAnyway makes one connection, whoever the server is.
func (s *demoServer) dialAnyway(args ...string) {
	s.t.Helper()
	args = append([]string{"dial", "-insecure", "-c", "1", "-n", "1", "-wait", "-http", "/"}, args...)
	out, stderr, status := process.Run(s.t, append(args, s.addr)...)
	require.Zero(s.t, status, out+stderr)
}

func TestServeSaysWhatBecomesOfEachSession(t *testing.T) {
	s := startServe(t, "-n", "3")
	s.dial("3")
	verbs, out := s.end()
	require.Equal(t, []string{
		"sent", "full",
		"ended", "sent", "resumed",
		"ended", "sent", "resumed",
		"1",
	}, verbs, out)
	require.Contains(t, out, "no ticket was presented")
	require.Contains(t, out, "resumption 2 since the full handshake")
	require.Contains(t, out, "\n1 full, 2 resumed, 3 sent, 0 refused\n")
}

func TestServeSaysWhyATicketIsRefused(t *testing.T) {
	dir := t.TempDir()
	kept := []string{"-store", filepath.Join(dir, "client"), "-keyfile", filepath.Join(dir, "key")}
	first := startServe(t, "-n", "1")
	first.dialAnyway(kept...)
	first.end()
	second := startServe(t, "-n", "1", "-addr", first.addr)
	second.dialAnyway(kept...)
	verbs, out := second.end()
	require.Equal(t, []string{"refused", "sent", "full", "1"}, verbs, out)
	require.Contains(t, out, "stranger")
}

func TestServeKeepsSessionsForTheNextRun(t *testing.T) {
	for _, where := range [][]string{
		{"-store", filepath.Join(t.TempDir(), "sessions")},
		{"-stateless"},
	} {
		t.Run(where[0], func(t *testing.T) {
			dir := t.TempDir()
			client := []string{"-store", filepath.Join(dir, "client"), "-keyfile", filepath.Join(dir, "key")}
			cert, key, err := tlstest.WriteFiles(dir, tlstest.Must(tlstest.Must(tlstest.NewCA("root")).Issue(tlstest.Leaf{})))
			require.NoError(t, err)
			flags := append([]string{"-n", "1", "-cert", cert, "-key", key, "-keyfile", filepath.Join(dir, "serverkey"), "-cacert", ""}, where...)
			addr := ""
			for turn := range 3 {
				if addr != "" {
					flags = append(flags, "-addr", addr)
				}
				s := startServe(t, flags...)
				addr = s.addr
				s.dialAnyway(client...)
				verbs, printed := s.end()
				if turn == 0 {
					require.Contains(t, verbs, "full", printed)
				} else {
					require.Contains(t, verbs, "resumed", printed)
				}
			}
		})
	}
}

func TestServeRefusesWhatMakesNoSense(t *testing.T) {
	for _, args := range [][]string{
		{"extra"}, {"-stateless", "-store", "x"}, {"-cert", "x"}, {"-key", "x"}, {"-n", "-1"},
		{"-cert", "x", "-key", "y", "-cacert", "z"}, {"-lifetime", "-1s"}, {"-nonsense"},
	} {
		_, stderr, status := process.Run(t, append([]string{"serve"}, args...)...)
		require.Equal(t, 2, status, "%v: %s", args, stderr)
	}
	out, _, status := process.Run(t, "serve", "-h")
	require.Zero(t, status)
	require.Contains(t, out, "-stateless")
}
