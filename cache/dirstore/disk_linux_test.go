package dirstore_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

// mount makes a small disk of its own.
func mount(t *testing.T, options string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk")
	}
	dir = t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,"+options)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this root may not mount a disk")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

// There are two ways to be full: no room for bytes, and none for files.
func TestFullDiskIsAnErrorAndLosesNothing(t *testing.T) {
	for _, c := range []struct {
		options string
		value   int
	}{{"size=256k", 8 << 10}, {"size=64m,nr_inodes=20", 10}} {
		dir := mount(t, c.options)
		s := open(t, dir, dirstore.Options{})
		var there []string
		var err error
		for i := 0; err == nil; i++ {
			e := cache.Entry{ID: fmt.Sprint(i), Value: []byte(strings.Repeat("x", c.value))}
			if err = s.Put(background, "k", e); err == nil {
				there = append(there, e.ID)
			}
			require.Less(t, i, 64)
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, err, cache.ErrNotStored)
		require.Regexp(t, "^dirstore: put: .*no space left on device$", err.Error())
		for _, name := range files(t, dir) {
			require.False(t, strings.HasSuffix(name, ".tmp"), "half a file stays: %s", name)
		}
		require.Error(t, s.Put(background, "k", cache.Entry{ID: there[0], Value: make([]byte, c.value)}))
		require.Error(t, s.Put(background, "other", cache.Entry{ID: "a", Value: make([]byte, c.value)}))

		slices.Reverse(there)
		got, err := s.Take(background, "k", 2)
		require.NoError(t, err)
		require.Equal(t, there[:2], []string{got[0].ID, got[1].ID})
		put(t, s, "k", "new")
		rest, err := s.Take(background, "k", 64)
		require.NoError(t, err)
		require.Equal(t, "new", rest[0].ID)
		require.Len(t, rest, len(there)-1)
	}
}

func TestReadOnlyDiskIsAnErrorAndHandsOutNothing(t *testing.T) {
	dir := mount(t, "size=1m")
	put(t, open(t, dir, dirstore.Options{}), "k", "a", "b")
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	s := open(t, dir, dirstore.Options{})

	got, err := s.Take(background, "k", 1)
	require.Empty(t, got)
	require.ErrorIs(t, err, syscall.EROFS)
	require.Regexp(t, "^dirstore: take: .*read-only file system$", err.Error())
	was, err := s.Delete(background, "k", "a")
	require.False(t, was)
	require.ErrorIs(t, err, syscall.EROFS)
	require.ErrorIs(t, s.Put(background, "k", entry("c")), syscall.EROFS)
	require.ErrorIs(t, s.Put(background, "new", entry("c")), syscall.EROFS)
	require.ErrorIs(t, s.Clear(background), syscall.EROFS)
	_, err = s.Take(background, "none", 1)
	require.Equal(t, cache.ErrMiss, err)
	seen := 0
	for _, err := range s.List(background) {
		require.NoError(t, err)
		seen++
	}
	require.Equal(t, 2, seen)

	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""))
	require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
}
