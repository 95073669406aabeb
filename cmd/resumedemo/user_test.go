package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// Who mistypes a flag is told where the right ones stand.
func TestAWrongFlagNamesTheHelpOfItsCommand(t *testing.T) {
	for help, args := range map[string][]string{
		"resumedemo -h":          {"-n", "1"},
		"resumedemo dial -h":     {"dial", "-nonsense", "127.0.0.1:1"},
		"resumedemo serve -h":    {"serve", "-n", "many"},
		"resumedemo sessions -h": {"sessions", "list", "-nonsense"},
	} {
		_, stderr, status := process.Run(t, args...)
		require.Equal(t, 2, status, args)
		require.True(t, strings.HasSuffix(stderr, "; try "+help+"\n"), stderr)
	}
}

// What could only fail at the server, or would be another request there, is
// refused before anything is dialled.
func TestDialRefusesWhatNoServerUnderstands(t *testing.T) {
	server, trusted := dialTarget(t)
	for _, args := range [][]string{
		{"-http", "index.html", server.Addr},
		{"-http", "/a b", server.Addr},
		{"-http", "/ HTTP/1.1\r\nX-Injected: y\r\n", server.Addr},
		{"-alpn", ",", server.Addr},
		{"-alpn", "h2,", server.Addr},
		{"-alpn", strings.Repeat("x", 256), server.Addr},
		{"localhost:"},
	} {
		out, stderr, status := process.Run(t, append(trusted[:len(trusted):len(trusted)], args...)...)
		require.Equal(t, 2, status, "%q: %s", args, out)
		require.Empty(t, out)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	require.Zero(t, server.Identities.Counts().Connections)
}

// A report that nobody can read is none: a full disk is an error.
func TestOutputThatCannotBeWrittenFailsTheProgram(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no device here is always full: ", err)
	}
	defer full.Close()
	server, trusted := dialTarget(t)
	shelf := newShelf(t, "one")
	stored := []string{"-store", shelf.dir, "-keyfile", shelf.key}
	for _, args := range [][]string{
		{"-h"}, {"dial", "-h"},
		append(trusted[:len(trusted):len(trusted)], "-n", "1", server.Addr),
		append(trusted[:len(trusted):len(trusted)], "-n", "1", "-json", server.Addr),
		append([]string{"sessions", "list"}, stored...),
		append([]string{"sessions", "show", "-json"}, stored...),
	} {
		var stderr strings.Builder
		cmd := process.Command(args...)
		cmd.Stdout, cmd.Stderr = full, &stderr
		require.Error(t, cmd.Run(), args)
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%v: %s", args, &stderr)
		require.Contains(t, stderr.String(), "resumedemo: write ")
		require.Equal(t, 1, strings.Count(stderr.String(), "\n"), &stderr)
	}
}
