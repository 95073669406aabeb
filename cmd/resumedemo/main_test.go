package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

func TestMain(m *testing.M) { process.Main(m, run) }

func TestNothingIsReusedAndAsMuchResumes(t *testing.T) {
	out, stderr, status := process.Run(t, "-json")
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
	server, file := process.Target(t)
	return server, []string{"dial", "-cafile", file, "-c", "1"}
}

func TestDialResumesEveryConnectionAfterTheFirst(t *testing.T) {
	for _, extra := range []string{"-json=false", "-tls12", "-wait"} {
		server, flags := dialTarget(t)
		out, stderr, status := process.Run(t, append(flags, "-n", "4", extra, server.Addr)...)
		require.Zero(t, status, stderr)
		require.Contains(t, out, "4 connections, 1 full, 3 resumed, ")
		require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 5)
		require.Equal(t, 4, strings.Count(out, server.Addr), "the endpoint of each")
	}
}

func TestDialUsesEveryTicketOfOpenSSLOnce(t *testing.T) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	server, err := peer.OpenSSL("-num_tickets", "4").Start(tlstest.Must(ca.Issue(tlstest.Leaf{})))
	if errors.Is(err, peer.ErrMissing) && os.Getenv("TLSRESUME_REQUIRE_PEERS") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	defer server.Close()
	proxy := tlstest.Must(tlstest.NewProxy(server.Addr, 1))
	defer proxy.Close()
	out, stderr, status := process.Run(t, "dial", "-insecure", "-json", "-n", "5", "-c", "1", proxy.Addr)
	require.Zero(t, status, stderr)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var first demo.Line
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.Equal(t, 4, first.Received) // and 1 on each resumed connection
	require.Equal(t, `{"connections":5,"full":1,"resumed":4,"captured":8}`, lines[5])
	require.Zero(t, proxy.Identities.Counts().Reused)
	require.Equal(t, 4, proxy.Identities.Counts().Offered)
}

func TestTheSecondRunOfDialResumes(t *testing.T) {
	server, flags := dialTarget(t)
	dir := t.TempDir()
	stored := []string{"-store", filepath.Join(dir, "sessions"), "-keyfile", filepath.Join(dir, "key")}
	dial := func(more ...string) string {
		args := append(append(append(flags, "-n", "1"), stored...), more...)
		out, stderr, status := process.Run(t, append(args, server.Addr)...)
		require.Zero(t, status, stderr)
		require.Empty(t, stderr)
		return out
	}
	require.Contains(t, dial(), "1 connections, 1 full, 0 resumed, 1 tickets")
	for range 3 {
		require.Contains(t, dial(), "1 connections, 0 full, 1 resumed, 1 tickets")
	}
	require.Contains(t, dial("-scope", "other"), "1 connections, 1 full, 0 resumed, 1 tickets")
	require.Contains(t, dial("-tls12"), "1 connections, 1 full, ", "a configuration that looks otherwise")
	counts := server.Identities.Counts()
	require.Equal(t, 3, counts.Offered)
	require.Zero(t, counts.Reused)
	info, err := os.Stat(filepath.Join(dir, "key"))
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	sessions := func(verb string, args ...string) string {
		out, stderr, status := process.Run(t, append(append([]string{"sessions", verb}, stored...), args...)...)
		require.Zero(t, status, stderr)
		return out
	}
	list := sessions("list")
	require.Equal(t, 3, strings.Count(list, server.Addr), list)
	require.Contains(t, list, "TLS 1.2")
	require.Contains(t, list, "3 sessions")
	require.Equal(t, list, sessions("list"), "to look takes none")
	var first found
	require.NoError(t, json.NewDecoder(strings.NewReader(sessions("list", "-json"))).Decode(&first))
	require.Equal(t, "Resumable", first.Status)
	require.Contains(t, sessions("show", first.ID), first.Endpoint)
	sessions("clear", "-scope", "other")
	require.Contains(t, sessions("list"), "2 sessions")
	sessions("clear")
	require.Contains(t, sessions("list"), "0 sessions")
	require.Contains(t, dial(), "1 connections, 1 full, ")
}

func TestAKeyFileThatOthersReadIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes say nothing there")
	}
	server, flags := dialTarget(t)
	for why, text := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"others can read it": {strings.Repeat("ab", 32), 0o644},
		"it is too short":    {"abcd", 0o600},
		"it is not hex":      {strings.Repeat("xy", 32), 0o600},
		"it is zero":         {strings.Repeat("00", 32), 0o600},
	} {
		key := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(key, []byte(text.content), text.mode))
		require.NoError(t, os.Chmod(key, text.mode))
		_, stderr, status := process.Run(t, append(flags, "-n", "1", "-store", t.TempDir(), "-keyfile", key, server.Addr)...)
		require.Equal(t, 1, status, why)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.NotContains(t, stderr, text.content)
	}
}

func TestErrorsAreOneLineAndAStatus(t *testing.T) {
	server, trusted := dialTarget(t)
	for _, row := range []struct {
		why    string
		status int
		args   []string
	}{
		{"no such command", 2, []string{"listen"}},
		{"no such flag", 2, []string{"-bursts"}},
		{"no host", 2, []string{"dial"}},
		{"no port", 2, []string{"dial", "localhost"}},
		{"wrong number", 2, []string{"dial", "-n", "many", server.Addr}},
		{"nothing to do", 2, []string{"dial", "-n", "0", server.Addr}},
		{"no parallelism", 2, []string{"dial", "-c", "0", server.Addr}},
		{"no directory", 2, []string{"sessions", "list"}},
		{"no verb", 2, []string{"sessions"}},
		{"no such verb", 2, []string{"sessions", "take", "-store", "d"}},
		{"no verb first", 2, []string{"sessions", "-store", "d", "list"}},
		{"several sessions", 2, []string{"sessions", "show", "-store", "d", "a", "b"}},
		{"an ID where all are meant", 2, []string{"sessions", "clear", "-store", "d", "a"}},
		{"no such flag of a verb", 2, []string{"sessions", "list", "-n", "1", "-store", "d"}},
		{"no scope", 2, append(trusted, "-store", "d", "-scope", "", server.Addr)},
		{"a scope of no store", 2, append(trusted, "-scope", "s", server.Addr)},
		{"a key of no store", 2, append(trusted, "-keyfile", "k", server.Addr)},
		{"flags after the host", 2, append(trusted, server.Addr, "-n", "1")},
		{"two commands", 2, []string{"-json", "dial", server.Addr}},
		{"no roots", 1, []string{"dial", "-cafile", "no-such-file", server.Addr}},
		{"unknown authority", 1, []string{"dial", "-n", "1", server.Addr}},
		{"nobody there", 1, append(trusted, "-n", "1", "127.0.0.1:1")},
		{"no such host", 1, append(trusted, "-n", "1", "nobody.invalid:443")},
		{"no such port", 1, append(trusted, "-n", "1", "127.0.0.1:65536")},
		{"the wrong name", 1, append(trusted, "-n", "1", "-servername", "elsewhere.example", server.Addr)},
	} {
		_, stderr, status := process.Run(t, row.args...)
		require.Equal(t, row.status, status, row.why)
		require.Equal(t, 1, strings.Count(stderr, "\n"), row.why+": "+stderr)
		require.True(t, strings.HasPrefix(stderr, "resumedemo: "), stderr)
	}
	require.NoFileExists(t, "k")
	require.NoDirExists(t, "d")
}

func TestHelpIsNoError(t *testing.T) {
	for _, row := range []struct {
		args []string
		says []string
	}{
		{[]string{"-h"}, []string{"resumedemo [-json]", "resumedemo dial [", "resumedemo sessions list|", "resumedemo serve ["}},
		{[]string{"dial", "-h"}, []string{"resumedemo dial [flags] host:port", "-servername", "-store", "-scope"}},
		{[]string{"serve", "--help"}, []string{"resumedemo serve [flags]", "-stateless", "-store"}},
		{[]string{"sessions", "-h"}, []string{"resumedemo sessions list|show|clear", "-keyfile"}},
		{[]string{"sessions", "show", "-h"}, []string{"resumedemo sessions list|show|clear", "-json"}},
	} {
		out, stderr, status := process.Run(t, row.args...)
		require.Zero(t, status, row.args)
		require.Empty(t, stderr)
		require.True(t, strings.HasPrefix(out, "usage: "), out)
		for _, said := range row.says {
			require.Contains(t, out, said)
		}
	}
}

// What failed is told of each connection, and as a whole in the status.
func TestDialSaysOfEachConnectionWhatFailed(t *testing.T) {
	server, trusted := dialTarget(t)
	distrusted := []string{"dial", "-c", "1"}
	for _, row := range []struct {
		flags []string
		addr  string
		says  string
	}{
		{distrusted, server.Addr, "unknown authority"},
		{trusted, "127.0.0.1:1", "refused"},
		{trusted, "nobody.invalid:443", "nobody.invalid"},
	} {
		args := append(row.flags[:len(row.flags):len(row.flags)], "-json", "-n", "3", row.addr)
		out, stderr, status := process.Run(t, args...)
		require.Equal(t, 1, status)
		require.Contains(t, stderr, "resumedemo: connection ")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Len(t, lines, 4)
		for i, text := range lines[:3] {
			var line demo.Line
			require.NoError(t, json.Unmarshal([]byte(text), &line))
			require.Equal(t, i+1, line.N)
			require.Contains(t, line.Error, row.says)
			require.False(t, line.Resumed)
		}
		require.Equal(t, `{"connections":3,"full":0,"resumed":0,"captured":0}`, lines[3])
	}
}

func TestDialAgreesOnAProtocolWithAServer(t *testing.T) {
	s := startServe(t, "-n", "2")
	s.dial("1", "-alpn", "http/1.1")
	_, stderr, status := process.Run(t, "dial", "-cafile", s.cafile, "-n", "1", "-alpn", "gopher,finger", s.addr)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "no application protocol")
}

// A store that takes nothing is no reason not to dial, but one to say so.
func TestDialSaysThatItsStoreTakesNothing(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("nothing is forbidden to this user")
	}
	server, flags := dialTarget(t)
	dir := filepath.Join(t.TempDir(), "sessions")
	require.NoError(t, os.Mkdir(dir, 0o500))
	out, stderr, status := process.Run(t, append(flags, "-n", "2", "-wait", "-store", dir,
		"-keyfile", filepath.Join(t.TempDir(), "key"), server.Addr)...)
	require.Equal(t, 1, status)
	require.Contains(t, out, "2 connections, 1 full, 1 resumed, ")
	require.Contains(t, stderr, "resumedemo: store: ")
	require.Contains(t, stderr, "permission denied")
}
