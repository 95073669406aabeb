//go:build unix

package dirstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

func init() {
	roles["put with umask"] = putWithUmask
	roles["without descriptors"] = withoutDescriptors
	roles["forbid"] = forbid
}

func putWithUmask(args []string, _ io.Reader, _ *json.Encoder) error {
	mask, err := strconv.ParseInt(args[1], 8, 0)
	if err != nil {
		return err
	}
	syscall.Umask(int(mask))
	s, err := dirstore.Open(args[0], dirstore.Options{})
	if err != nil {
		return err
	}
	return s.Put(background, "k", entry("a"), entry("b"))
}

// withoutDescriptors makes all calls when no file can be opened any more.
func withoutDescriptors(args []string, _ io.Reader, out *json.Encoder) error {
	s, err := dirstore.Open(args[0], dirstore.Options{})
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = 3 // standard input, output and error
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	_, takeErr := s.Take(background, "k", 1)
	_, deleteErr := s.Delete(background, "k", "a")
	var listErr error
	for _, err := range s.List(background) {
		listErr = err
	}
	for _, err := range []error{takeErr, deleteErr, listErr, s.Put(background, "k", entry("c")), s.Clear(background)} {
		out.Encode(fmt.Sprint(err))
	}
	return nil
}

// forbid takes its own permissions away and looks what the calls say.
func forbid(args []string, _ io.Reader, out *json.Encoder) error {
	s, err := dirstore.Open(args[0], dirstore.Options{})
	if err != nil {
		return err
	}
	if err := s.Put(background, "k", entry("a"), entry("b"), entry("c")); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(args[0], "*", "*-*"))
	if err != nil || len(found) != 3 {
		return fmt.Errorf("%d files, %w", len(found), err)
	}
	folder := filepath.Dir(found[0])
	os.Chmod(found[2], 0) // c cannot be read
	os.Chmod(folder, 0o500)
	if _, err := s.Take(background, "k", 1); !errors.Is(err, syscall.EACCES) || !strings.HasPrefix(err.Error(), "dirstore: take: ") {
		return fmt.Errorf("take from what is read-only: %v", err)
	}
	if _, err := s.Delete(background, "k", "a"); !errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("delete from what is read-only: %v", err)
	}
	if err := s.Put(background, "k", entry("d")); !errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("put to what is read-only: %v", err)
	}
	os.Chmod(folder, 0o700)
	got, err := s.Take(background, "k", 9)
	if err != nil || len(got) != 2 || got[0].ID != "b" || got[1].ID != "a" {
		return fmt.Errorf("take beside what is unreadable: %v, %v", got, err)
	}
	if _, err := s.Take(background, "k", 1); err != cache.ErrMiss || s.Stats().Unreadable == 0 {
		return fmt.Errorf("take of what is unreadable: %v, %+v", err, s.Stats())
	}
	os.Chmod(folder, 0)
	if _, err := s.Take(background, "k", 1); !errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("take from what cannot be listed: %v", err)
	}
	for i := range 6 {
		if err := s.Put(background, fmt.Sprint(i), entry("e")); err != nil {
			return err
		}
	}
	if _, err := s.Sweep(background); !errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("sweep of what cannot be listed: %v", err)
	}
	seen := 0
	for l, err := range s.List(background) {
		if seen++; (l.ID == "e") == (seen == 7) || errors.Is(err, syscall.EACCES) != (seen == 7) {
			return fmt.Errorf("list of what cannot be listed: %v, %v as number %d", l, err, seen)
		}
	}
	return out.Encode("as it should")
}

const nobody = 65534

// playAsNobody plays a role as a user who may do nothing. The test binary lies
// where nobody else gets at it, so a copy is run.
func playAsNobody(t *testing.T, home, role string, args ...string) []string {
	t.Helper()
	self, err := os.Open(os.Args[0])
	require.NoError(t, err)
	defer self.Close()
	program := filepath.Join(home, "program")
	copied, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(copied, self)
	require.NoError(t, errors.Join(err, copied.Close()))
	return process.Start[string](t, actorRole, part{role, args}, func(cmd *exec.Cmd) {
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Dir = home
	}).End(t)
}
