package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// A summary is the last line of dial -json.
type summary struct{ Connections, Full, Resumed, Captured int }

// dialJSON dials, which must succeed, and returns what it said.
func dialJSON(t *testing.T, args ...string) (lines []demo.Line, sum summary) {
	t.Helper()
	out, stderr, status := process.Run(t, args...)
	require.Zero(t, status, stderr)
	require.Empty(t, stderr)
	all := strings.Split(strings.TrimSpace(out), "\n")
	for _, text := range all[:len(all)-1] {
		var line demo.Line
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&line), text)
		lines = append(lines, line)
	}
	require.NoError(t, json.Unmarshal([]byte(all[len(all)-1]), &sum))
	return lines, sum
}

func TestDialTellsTheSameOfEachConnectionAndInAll(t *testing.T) {
	server, flags := dialTarget(t)
	lines, sum := dialJSON(t, append(flags, "-json", "-wait", "-n", "4", server.Addr)...)
	require.Equal(t, summary{Connections: 4, Full: 1, Resumed: 3, Captured: 4}, sum)
	require.Len(t, lines, 4)
	for i, line := range lines {
		require.Equal(t, i+1, line.N)
		require.Equal(t, i > 0, line.Resumed)
		require.Equal(t, 1, line.Received)
		require.Equal(t, server.Addr, line.Endpoint)
		require.NotEmpty(t, line.Session)
		require.Positive(t, line.Handshake)
		require.Empty(t, line.Error)
	}
	require.Equal(t, "none", lines[0].Reason, "no session was there")
	require.Equal(t, lines[0].Session, lines[1].Session, "the second resumes what the first received")
	require.NotEqual(t, lines[1].Session, lines[2].Session)
}

func TestParallelDialsOfOneProgramUseEveryTicketOnce(t *testing.T) {
	server, flags := dialTarget(t)
	lines, sum := dialJSON(t, append(flags, "-c", "8", "-json", "-wait", "-n", "32", server.Addr)...)
	require.Equal(t, 32, sum.Full+sum.Resumed)
	require.LessOrEqual(t, sum.Full, 8)
	seen := make(map[int]bool)
	for _, line := range lines {
		require.False(t, seen[line.N])
		seen[line.N] = true
	}
	require.Len(t, seen, 32)
	counts := server.Identities.Counts()
	require.Equal(t, 32, counts.Connections)
	require.Equal(t, sum.Resumed, counts.Offered)
	require.Zero(t, counts.Reused)
}

func TestDialCanCallTheServerByAnotherName(t *testing.T) {
	server, flags := dialTarget(t)
	s := &shelf{t: t, dir: filepath.Join(t.TempDir(), "sessions"), key: filepath.Join(t.TempDir(), "key")}
	_, _, status := process.Run(t, append(flags, "-n", "1", "-wait", "-servername", "localhost",
		"-store", s.dir, "-keyfile", s.key, server.Addr)...)
	require.Zero(t, status)
	all := s.json("list")
	require.Len(t, all, 1)
	require.True(t, strings.HasPrefix(all[0].Server, "localhost:"), all[0].Server)
	require.Equal(t, server.Addr, all[0].Endpoint)
}

// Of programs that all find no key one makes it, and a directory they all find
// missing is there once. Several rounds, as they have to meet in the midst of it.
func TestProgramsThatStartAtOnceShareOneKey(t *testing.T) {
	const programs, rounds = 6, 5
	server, flags := dialTarget(t)
	for range rounds {
		home := t.TempDir()
		s := &shelf{t: t, dir: filepath.Join(home, "a", "sessions"), key: filepath.Join(home, "b", "key")}
		args := append(flags, "-n", "1", "-wait", "-store", s.dir, "-keyfile", s.key, server.Addr)
		var all errgroup.Group
		for range programs {
			all.Go(func() error {
				out, err := process.Command(args...).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
		require.NoError(t, all.Wait())
		found := s.json("list")
		require.NotEmpty(t, found)
		for _, f := range found {
			require.Equal(t, "Resumable", f.Status, "sealed with a key that was lost")
		}
		left, err := os.ReadDir(filepath.Dir(s.key))
		require.NoError(t, err)
		require.Len(t, left, 1, "what was made for a key and not needed is gone")
	}
	counts := server.Identities.Counts()
	require.Equal(t, rounds*programs, counts.Connections)
	require.Zero(t, counts.Reused)
}

// Without -keyfile the key is where a user's caches are, for this program.
func TestTheKeyIsKeptWithTheUsersCaches(t *testing.T) {
	server, flags := dialTarget(t)
	caches, dir := t.TempDir(), filepath.Join(t.TempDir(), "sessions")
	for _, want := range []string{"1 full, 0 resumed", "0 full, 1 resumed"} {
		cmd := process.Command(append(flags, "-n", "1", "-wait", "-store", dir, server.Addr)...)
		// One of these is where a system looks.
		cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+caches, "HOME="+caches, "LocalAppData="+caches)
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Contains(t, string(out), want)
	}
	var keys []string
	require.NoError(t, filepath.WalkDir(caches, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			keys = append(keys, filepath.Join(filepath.Base(filepath.Dir(path)), e.Name()))
		}
		return err
	}))
	require.Equal(t, []string{filepath.Join("resumedemo", "key")}, keys)
}
