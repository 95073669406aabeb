package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// asProgram makes the test binary the program, for its children, too.
const asProgram = "RESUMEDEMO_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command(tlstest.Must(os.Executable()), args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
		status = exit.ExitCode()
	}
	return out.String(), errs.String(), status
}

func TestNothingIsReusedAndAsMuchResumes(t *testing.T) {
	out, stderr, status := program(t, "-json")
	require.Zero(t, status, stderr)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	var got report
	require.NoError(t, decoder.Decode(&got))
	require.False(t, decoder.More(), "one object and no more")
	require.GreaterOrEqual(t, len(got.Workloads), 3)
	for _, w := range got.Workloads {
		standard, ours := w.Results[0], w.Results[1]
		require.Equal(t, []string{"standard", "tlsresume"}, []string{standard.Cache, ours.Cache})
		require.Zero(t, ours.Reused, w.Name)
		require.Equal(t, standard.Connections, ours.Connections)
		require.GreaterOrEqual(t, float64(ours.Resumed), 0.99*float64(standard.Resumed), w.Name)
		require.Greater(t, ours.Resumed, ours.Connections/2, w.Name)
		require.GreaterOrEqual(t, ours.Captured, ours.Connections)
	}
}

// dialTarget is a Go server, and the flags that make dial trust it.
func dialTarget(t *testing.T) (server *tlstest.Server, flags []string) {
	t.Helper()
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	server = tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, ca.PEM(), 0o600))
	return server, []string{"dial", "-cafile", file, "-c", "1"}
}

func TestDialResumesEveryConnectionAfterTheFirst(t *testing.T) {
	for _, extra := range []string{"-json=false", "-tls12", "-wait"} {
		server, flags := dialTarget(t)
		out, stderr, status := program(t, append(flags, "-n", "4", extra, server.Addr)...)
		require.Zero(t, status, stderr)
		require.Contains(t, out, "4 connections, 1 full, 3 resumed, ")
		require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 5)
		require.Equal(t, 4, strings.Count(out, server.Addr), "the endpoint of each")
	}
}

func TestDialUsesEveryTicketOfOpenSSLOnce(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	server, err := tlstest.StartOpenSSL(tlstest.Must(ca.Issue(tlstest.Leaf{})), "-num_tickets", "4")
	if errors.Is(err, tlstest.ErrNoOpenSSL) && os.Getenv("TLSRESUME_REQUIRE_PEERS") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	defer server.Close()
	proxy := tlstest.Must(tlstest.NewProxy(server.Addr, 1))
	defer proxy.Close()
	out, stderr, status := program(t, "dial", "-insecure", "-json", "-n", "5", "-c", "1", proxy.Addr)
	require.Zero(t, status, stderr)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var first line
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.Equal(t, 4, first.Received) // and 1 on each resumed connection
	require.Equal(t, `{"connections":5,"full":1,"resumed":4,"captured":8}`, lines[5])
	require.Zero(t, proxy.Identities.Counts().Reused)
	require.Equal(t, 4, proxy.Identities.Counts().Offered)
}

func TestErrorsAreOneLineAndAStatus(t *testing.T) {
	server, trusted := dialTarget(t)
	for _, row := range []struct {
		why    string
		status int
		args   []string
	}{
		{"no such command", 2, []string{"serve"}},
		{"no such flag", 2, []string{"-bursts"}},
		{"no host", 2, []string{"dial"}},
		{"no port", 2, []string{"dial", "localhost"}},
		{"wrong number", 2, []string{"dial", "-n", "many", server.Addr}},
		{"nothing to do", 2, []string{"dial", "-n", "0", server.Addr}},
		{"no parallelism", 2, []string{"dial", "-c", "0", server.Addr}},
		{"no roots", 1, []string{"dial", "-cafile", "no-such-file", server.Addr}},
		{"unknown authority", 1, []string{"dial", "-n", "1", server.Addr}},
		{"nobody there", 1, append(trusted, "-n", "1", "127.0.0.1:1")},
	} {
		_, stderr, status := program(t, row.args...)
		require.Equal(t, row.status, status, row.why)
		require.Equal(t, 1, strings.Count(stderr, "\n"), row.why+": "+stderr)
		require.True(t, strings.HasPrefix(stderr, "resumedemo: "), stderr)
	}
	out, _, status := program(t, "dial", "-h")
	require.Zero(t, status)
	require.Contains(t, out, "-servername")
}
