package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
	"github.com/tlsresume/tlsresume/resume"
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
		{"-keyfile", "k"}, {"-scope", "s"}, {"-store", "d", "-scope", ""}, {"-lifetime", "1"},
	} {
		// An address that is none, lest a server that accepts it all serves for ever.
		_, stderr, status := process.Run(t, append([]string{"serve", "-addr", "nowhere"}, args...)...)
		require.Equal(t, 2, status, "%v: %s", args, stderr)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	require.NoFileExists(t, "k")
	require.NoDirExists(t, "d")
}

func TestServeSaysWhatItLacks(t *testing.T) {
	server, _ := dialTarget(t)
	dir := t.TempDir()
	cert, key, err := tlstest.WriteFiles(dir, tlstest.Must(tlstest.Must(tlstest.NewCA("root")).Issue(tlstest.Leaf{})))
	require.NoError(t, err)
	nowhere := filepath.Join(dir, "no", "where")
	for why, args := range map[string][]string{
		"in use":          {"-addr", server.Addr},
		"missing port":    {"-addr", "localhost"},
		"no/where":        {"-cert", nowhere, "-key", key},
		"PEM inputs":      {"-cert", key, "-key", cert},
		"where: no such":  {"-cacert", nowhere},
		"not 32 bytes in": {"-store", filepath.Join(dir, "sessions"), "-keyfile", cert},
	} {
		out, stderr, status := process.Run(t, append([]string{"serve"}, args...)...)
		require.Equal(t, 1, status, why)
		require.Empty(t, out)
		require.Contains(t, filepath.ToSlash(stderr), why)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

// Its answer says what its lines say, in both protocols.
func TestServeAnswersWithTheSessionOfTheConnection(t *testing.T) {
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(proto, func(t *testing.T) {
			s := startServe(t, "-n", "2")
			client, stop := s.client(t, h2)
			full := fetch(t, client, "https://"+s.addr)
			resumed := fetch(t, client, "https://"+s.addr)
			stop()
			verbs, out := s.end()
			require.Equal(t, []string{"sent", "full", "ended", "sent", "resumed", "1"}, verbs, out)
			sent := make([]string, 0, 2)
			for line := range strings.Lines(out) {
				if words := strings.Fields(line); words[0] == "sent" {
					sent = append(sent, words[1])
				}
			}
			require.Equal(t, proto+" resumed=false session="+sent[0]+" status=Resumable resumptions=0\n", full)
			require.Equal(t, proto+" resumed=true session="+sent[1]+" status=Resumable resumptions=1\n", resumed)
		})
	}
}

// client uses each connection for one request.
func (s *demoServer) client(t *testing.T, h2 bool) (client *http.Client, stop func()) {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(tlstest.Must(os.ReadFile(s.cafile))))
	transport := &http.Transport{
		TLSClientConfig:   new(resume.ClientCache).TLSConfig(&tls.Config{RootCAs: roots}),
		ForceAttemptHTTP2: h2,
		DisableKeepAlives: true,
	}
	return &http.Client{Transport: transport, Timeout: dialTimeout}, transport.CloseIdleConnections
}

func fetch(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	response, err := client.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	return string(tlstest.Must(io.ReadAll(response.Body)))
}

func TestServeForgetsSessionsAfterTheirLifetime(t *testing.T) {
	s := startServe(t, "-n", "2", "-lifetime", "1ns")
	s.dial("2")
	verbs, out := s.end()
	require.Equal(t, 2, strings.Count(out, "\nfull "), out)
	require.Contains(t, verbs, "refused")
	require.Contains(t, out, "gone: used, expired, evicted or removed before")
	require.Contains(t, out, "\n2 full, 0 resumed, 2 sent, 1 refused\n")
}

func TestServeKeepsToTLS12(t *testing.T) {
	s := startServe(t, "-n", "2", "-tls12")
	s.dial("2")
	_, out := s.end()
	require.Contains(t, out, "TLS 1.2")
	require.NotContains(t, out, "TLS 1.3")
	require.Contains(t, out, "1 full, 1 resumed, ")
}

// Two servers with one store and one key are one, unless their scopes differ.
func TestServersOfTwoScopesShareNoSession(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := tlstest.WriteFiles(dir, tlstest.Must(tlstest.Must(tlstest.NewCA("root")).Issue(tlstest.Leaf{})))
	require.NoError(t, err)
	client := []string{"-store", filepath.Join(dir, "client"), "-keyfile", filepath.Join(dir, "clientkey")}
	addr := "127.0.0.1:0"
	for _, turn := range []struct{ scope, want string }{{"one", "full"}, {"two", "full"}, {"two", "resumed"}} {
		s := startServe(t, "-n", "1", "-addr", addr, "-cert", cert, "-key", key, "-cacert", "", "-scope", turn.scope,
			"-store", filepath.Join(dir, "server"), "-keyfile", filepath.Join(dir, "serverkey"))
		addr = s.addr
		s.dialAnyway(client...)
		verbs, out := s.end()
		require.Contains(t, verbs, turn.want, out)
	}
}

func TestEveryReasonOfAServerIsExplained(t *testing.T) {
	for _, reason := range []string{"stranger", "gone", "one-only", "declined", "store"} {
		require.True(t, strings.HasPrefix(reasonText(reason), reason+": "), reason)
	}
	require.Equal(t, "no ticket was presented", reasonText(""))
	require.Equal(t, "a new one", reasonText("a new one"), "is told as it is")
}
