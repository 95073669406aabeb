package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// A shelf is a directory of sessions with its key.
type shelf struct {
	t        *testing.T
	dir, key string
}

// newShelf dials once under each scope.
func newShelf(t *testing.T, scopes ...string) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: filepath.Join(t.TempDir(), "sessions"), key: filepath.Join(t.TempDir(), "key")}
	server, flags := dialTarget(t)
	for _, scope := range scopes {
		_, stderr, status := process.Run(t, append(flags, "-n", "1", "-wait", "-scope", scope,
			"-store", s.dir, "-keyfile", s.key, server.Addr)...)
		require.Zero(t, status, stderr)
	}
	return s
}

// run runs a verb of sessions, which must succeed.
func (s *shelf) run(verb string, more ...string) (out, stderr string) {
	s.t.Helper()
	out, stderr, status := process.Run(s.t, append([]string{"sessions", verb, "-store", s.dir, "-keyfile", s.key}, more...)...)
	require.Zero(s.t, status, stderr)
	return out, stderr
}

// json is what a verb prints with -json.
func (s *shelf) json(verb string, more ...string) (all []found) {
	s.t.Helper()
	out, _ := s.run(verb, append([]string{"-json"}, more...)...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	for decoder.More() {
		var f found
		require.NoError(s.t, decoder.Decode(&f), out)
		all = append(all, f)
	}
	return all
}

// files are the paths of all sessions' files.
func (s *shelf) files() []string {
	return tlstest.Must(filepath.Glob(filepath.Join(s.dir, "*", "*")))
}

func TestListAndShowSayTheSame(t *testing.T) {
	s := newShelf(t, "one", "two")
	all := s.json("list")
	require.Len(t, all, 2)
	require.Equal(t, all, s.json("show"), "show without an ID tells of all")
	for _, f := range all {
		require.Equal(t, "Resumable", f.Status)
		require.Equal(t, f.Server, f.Endpoint, "the test's server has no other name")
		require.Equal(t, "TLS 1.3", f.Version)
		require.True(t, strings.HasPrefix(f.Cipher, "TLS_"), f.Cipher)
		require.Positive(t, f.Size)
		require.False(t, f.Received.Before(f.Full))
		require.True(t, f.Expires.After(f.Received) && !f.Expires.After(f.Leaf), "%+v", f)
		require.Equal(t, []found{f}, s.json("show", f.ID))

		list, stderr := s.run("list")
		require.Empty(t, stderr)
		show, _ := s.run("show", f.ID)
		require.True(t, strings.HasPrefix(show, f.ID+" Resumable\n"), show)
		for _, said := range []string{f.Server, f.Version, f.Scope, stamp(f.Received), stamp(f.Expires), f.ID} {
			require.Contains(t, list, said)
			require.Contains(t, show, said)
		}
		for _, said := range []string{f.Cipher, stamp(f.Leaf), stamp(f.Full)} {
			require.Contains(t, show, said)
		}
	}
}

func TestAScopeIsListedAndShownAlone(t *testing.T) {
	s := newShelf(t, "one", "two", "two")
	for scope, n := range map[string]int{"one": 1, "two": 1, "three": 0} {
		all := s.json("list", "-scope", scope)
		require.Len(t, all, n, scope)
		require.Equal(t, all, s.json("show", "-scope", scope))
		for _, f := range all {
			require.Equal(t, scope, f.Scope)
		}
	}
	require.Len(t, s.json("list"), 2)
}

func TestASessionThatIsNotThereCannotBeShown(t *testing.T) {
	s := newShelf(t, "one", "two")
	id := s.json("list", "-scope", "one")[0].ID
	for _, args := range [][]string{{"nobody"}, {"-scope", "two", id}} {
		args = append([]string{"sessions", "show", "-store", s.dir, "-keyfile", s.key}, args...)
		out, stderr, status := process.Run(t, args...)
		require.Equal(t, 1, status)
		require.Empty(t, out)
		require.Equal(t, "resumedemo: no session "+args[len(args)-1]+"\n", stderr)
	}
}

func TestClearDropsOneScopeOrAll(t *testing.T) {
	s := newShelf(t, "one", "two")
	out, stderr := s.run("clear", "-scope", "three")
	require.Empty(t, out+stderr)
	require.Len(t, s.json("list"), 2)
	s.run("clear", "-scope", "one")
	require.Empty(t, s.json("list", "-scope", "one"))
	require.Len(t, s.json("list", "-scope", "two"), 1)
	s.run("clear")
	require.Empty(t, s.json("list"))
}

// Who has lost the key can still throw away what nobody can use any more.
func TestClearNeedsNoKeyUnlessAScopeIsNamed(t *testing.T) {
	s := newShelf(t, "one")
	require.NoError(t, os.WriteFile(s.key, []byte("damaged"), 0o600))
	_, stderr, status := process.Run(t, "sessions", "clear", "-scope", "one", "-store", s.dir, "-keyfile", s.key)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "not 32 bytes in hex")
	require.Len(t, s.files(), 1)
	s.run("clear")
	require.Empty(t, s.files())
}

func TestWithAnotherKeyNothingIsToldButThatItIsThere(t *testing.T) {
	s := newShelf(t, "secret-scope")
	was := s.json("list")[0]
	require.NoError(t, os.WriteFile(s.key, []byte(strings.Repeat("5a", 32)), 0o600))
	all := s.json("list")
	require.Len(t, all, 1)
	require.Equal(t, found{ID: all[0].ID, Status: "Sealed", Expires: all[0].Expires, Size: all[0].Size}, all[0])
	require.NotEqual(t, was.ID, all[0].ID, "the ID as packet captures have it")
	for _, verb := range []string{"list", "show"} {
		out, _ := s.run(verb)
		require.Contains(t, out, "Sealed")
		for _, secret := range []string{was.Server, was.Scope, was.ID, was.Version} {
			require.NotContains(t, out, secret)
		}
	}
}

// A directory that is misspelt is not made, and neither is a key.
func TestSessionsMakesNothing(t *testing.T) {
	s := newShelf(t, "one")
	for _, verb := range []string{"list", "show", "clear"} {
		for _, row := range [][2]string{{s.dir + "x", s.key}, {s.dir, s.key + "x"}} {
			_, stderr, status := process.Run(t, "sessions", verb, "-store", row[0], "-keyfile", row[1])
			require.Equal(t, 1, status, verb)
			require.Contains(t, stderr, "x: ")
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
			require.NoFileExists(t, s.key+"x")
			require.NoDirExists(t, s.dir+"x")
		}
	}
	require.Len(t, s.json("list"), 1)
}

func TestADirectoryOfAnotherProgramIsLeftAlone(t *testing.T) {
	s := &shelf{t: t, dir: t.TempDir(), key: newShelf(t, "one").key}
	require.NoError(t, os.Chmod(s.dir, 0o700))
	theirs := filepath.Join(s.dir, "mail")
	require.NoError(t, os.Mkdir(theirs, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "letter"), []byte("dear"), 0o600))
	out, stderr := s.run("list")
	require.Contains(t, out, "0 sessions")
	require.Equal(t, "resumedemo: left alone: 2 files or directories that are not a store's, 0 damaged\n", stderr)
	s.run("clear")
	require.DirExists(t, theirs)
	require.FileExists(t, filepath.Join(s.dir, "letter"))
}

func TestADamagedFileHidesNoSession(t *testing.T) {
	s := newShelf(t, "one", "two")
	require.NoError(t, os.Truncate(s.files()[0], 5))
	out, stderr := s.run("list")
	require.Contains(t, out, "1 sessions")
	require.Equal(t, "resumedemo: left alone: 0 files or directories that are not a store's, 1 damaged\n", stderr)
	require.Len(t, s.files(), 2, "to look removes nothing")
}

func TestADirectoryThatCannotBeTrustedIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes say nothing there")
	}
	s := newShelf(t, "one")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(s.dir, link))
	open := t.TempDir()
	require.NoError(t, os.Chmod(open, 0o777))
	server, flags := dialTarget(t)
	for why, dir := range map[string]string{"not a directory": file, "symbolic link": link, "by others": open} {
		for _, args := range [][]string{
			{"sessions", "list"}, {"sessions", "clear"}, {"serve"},
			append(flags[:len(flags):len(flags)], "-n", "1"),
		} {
			args = append(args, "-store", dir, "-keyfile", s.key)
			if args[0] == "dial" {
				args = append(args, server.Addr)
			}
			out, stderr, status := process.Run(t, args...)
			require.Equal(t, 1, status, "%v", args)
			require.Empty(t, out)
			require.Contains(t, stderr, why)
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		}
	}
	require.Zero(t, server.Identities.Counts().Connections, "nothing was dialled without the store")
}

func TestAServersSessionsCanBeLookedAt(t *testing.T) {
	s := &shelf{t: t, dir: filepath.Join(t.TempDir(), "sessions"), key: filepath.Join(t.TempDir(), "key")}
	server := startServe(t, "-n", "2", "-store", s.dir, "-keyfile", s.key)
	server.dial("2")
	server.end()
	all := s.json("list")
	require.Len(t, all, 1, "the first was used")
	require.Equal(t, "Resumable", all[0].Status)
	require.Equal(t, defaultScope, all[0].Scope)
	require.Equal(t, "127.0.0.1", strings.Split(all[0].Endpoint, ":")[0])
	out, _ := s.run("list")
	require.Contains(t, out, "?", "clients send no name to an address")
}

// A store shows no entry past its time, but a session may end before its entry.
func TestWhatHasExpiredIsNotResumable(t *testing.T) {
	s := newShelf(t, "one")
	o := storeOptions{dir: s.dir, keyFile: s.key, scope: "one"}
	store, keys, err := o.open()
	require.NoError(t, err)
	looked := 0
	require.NoError(t, store.Peek(context.Background(), func(key string, e cache.Entry) bool {
		looked++
		f := look(keys, key, e, time.Now())
		require.Equal(t, "Resumable", f.Status)
		require.Equal(t, "Resumable", look(keys, key, e, f.Expires.Add(-1)).Status)
		late := look(keys, key, e, f.Expires)
		require.Equal(t, "Expired", late.Status)
		late.Status = f.Status
		require.Equal(t, f, late, "all else is as it was")

		require.Equal(t, "Sealed", look(keys, key+"x", e, time.Now()).Status, "another's place")
		e.Value[len(e.Value)-1] ^= 1
		require.Equal(t, "Sealed", look(keys, key, e, time.Now()).Status, "damaged")
		return true
	}))
	require.Equal(t, 1, looked)
}
