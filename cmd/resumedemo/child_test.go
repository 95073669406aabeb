package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// runChild is the child process with an input of the test's.
func runChild(t *testing.T, in io.Reader) (hello greeting, answers *json.Decoder, errs string, err error) {
	t.Helper()
	cmd := process.Command(childCommand)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &stderr
	err = cmd.Run()
	answers = json.NewDecoder(&out)
	require.NoError(t, answers.Decode(&hello))
	return hello, answers, stderr.String(), err
}

func TestTheChildEndsWithItsInput(t *testing.T) {
	hello, answers, stderr, err := runChild(t, strings.NewReader(""))
	require.NoError(t, err, stderr)
	require.Contains(t, hello.CA, "BEGIN CERTIFICATE")
	require.Equal(t, "go", hello.Servers[0].Name)
	require.False(t, answers.More())
	for _, server := range hello.Servers {
		_, err := net.Dial("tcp", server.Addr)
		require.Error(t, err, "%s has outlived the child", server.Name)
	}
}

func TestTheChildRefusesServersThatItHasNot(t *testing.T) {
	for _, line := range []string{"counts nobody\n", "nonsense", "\n"} {
		_, answers, stderr, err := runChild(t, strings.NewReader("counts go\n"+line))
		require.Error(t, err)
		require.Contains(t, stderr, "resumedemo: no server ")
		var counts tlstest.Counts
		require.NoError(t, answers.Decode(&counts), "what was asked before is answered")
		require.False(t, answers.More())
	}
}

func TestTheChildCountsFromItsLastReset(t *testing.T) {
	seen := new(tlstest.Identities)
	for range 2 {
		seen.Connection().Present([]byte("ticket"))
	}
	s := fakeServers(t, "", seen)
	counts, err := s.ask("counts", "go")
	require.NoError(t, err)
	require.Equal(t, tlstest.Counts{Connections: 2, Offered: 2, Reused: 1}, counts)
	counts, err = s.ask("reset", "go")
	require.NoError(t, err)
	require.Zero(t, counts)
	counts, err = s.ask("counts", "go")
	require.NoError(t, err)
	require.Zero(t, counts)
}

// fakeServers is a child with one server, as its parent sees it, in this process.
func fakeServers(t *testing.T, addr string, seen *tlstest.Identities) *servers {
	t.Helper()
	in, toChild := io.Pipe()
	fromChild, out := io.Pipe()
	s := &servers{in: toChild, answers: json.NewDecoder(fromChild)}
	over := make(chan error)
	go func() {
		over <- answer(in, json.NewEncoder(out), greeting{Servers: []target{{"go", addr}}}, map[string]*tlstest.Identities{"go": seen})
	}()
	require.NoError(t, s.answers.Decode(&s.greeting))
	t.Cleanup(func() {
		toChild.Close()
		require.NoError(t, <-over)
	})
	return s
}
