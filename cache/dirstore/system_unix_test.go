//go:build unix && !solaris && !aix

package dirstore_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

func TestOpenRefusesWhatOthersControl(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	open(t, dir, dirstore.Options{})
	for _, mode := range []fs.FileMode{0o720, 0o702, 0o777} {
		require.NoError(t, os.Chmod(dir, mode))
		_, err := dirstore.Open(dir, dirstore.Options{})
		require.EqualError(t, err, fmt.Sprintf("dirstore: %s can be written by others: mode %04o", dir, mode))
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	open(t, dir, dirstore.Options{})

	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	_, err := dirstore.Open(link, dirstore.Options{})
	require.EqualError(t, err, "dirstore: "+link+" is a symbolic link")
	dangling := filepath.Join(t.TempDir(), "dangling")
	require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "nothing"), dangling))
	_, err = dirstore.Open(dangling, dirstore.Options{})
	require.EqualError(t, err, "dirstore: "+dangling+" is a symbolic link")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = dirstore.Open(file, dirstore.Options{})
	require.EqualError(t, err, "dirstore: "+file+" is not a directory")
}

func TestOpenRefusesAForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chown(dir, 65534, 0))
	_, err := dirstore.Open(dir, dirstore.Options{})
	require.EqualError(t, err, "dirstore: "+dir+" belongs to user 65534, this process to 0")
}

// What comes under the name of an entry and is no file is neither followed nor
// waited for.
func TestOddFilesAreSkipped(t *testing.T) {
	for kind, make := range map[string]func(t *testing.T, path, entry string){
		"FIFO":      func(t *testing.T, path, _ string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) },
		"directory": func(t *testing.T, path, _ string) { require.NoError(t, os.Mkdir(path, 0o700)) },
		"full directory": func(t *testing.T, path, _ string) {
			require.NoError(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
		},
		"socket":           listen,
		"symbolic link":    func(t *testing.T, path, entry string) { require.NoError(t, os.Symlink(entry, path)) },
		"link to itself":   func(t *testing.T, path, _ string) { require.NoError(t, os.Symlink(path, path)) },
		"link to a device": func(t *testing.T, path, _ string) { require.NoError(t, os.Symlink("/dev/zero", path)) },
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, dirstore.Options{})
			put(t, s, "k", "a", "b")
			a, b := newestOf(t, dir, "a"), newestOf(t, dir, "b")
			// Newer than b, and of another ID.
			odd := filepath.Join(filepath.Dir(a), "1"+filepath.Base(a)[1:23]+strings.Repeat("0", 16)+filepath.Base(a)[39:])
			make(t, odd, b)
			before, err := os.Lstat(odd)
			require.NoError(t, err)

			listed := 0
			for _, err := range s.List(background) {
				require.NoError(t, err)
				listed++
			}
			require.Equal(t, 2, listed)
			require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
			require.NotZero(t, s.Stats().Foreign)
			put(t, s, "k", "c") // newer, because what is there has a sequence
			require.Equal(t, []string{"c"}, drain(t, s, "k"))
			_, err = s.Sweep(background)
			require.NoError(t, err)
			after, err := os.Lstat(odd)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
		})
	}
}

// listen makes a socket. Its path is too long to be bound to as it is.
func listen(t *testing.T, path, _ string) {
	t.Chdir(filepath.Dir(path))
	l, err := net.Listen("unix", filepath.Base(path))
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
}

func TestSymbolicLinkInPlaceOfAKeyIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a")
	put(t, s, "l", "b")
	k, l := filepath.Dir(newestOf(t, dir, "a")), filepath.Dir(newestOf(t, dir, "b"))
	require.NoError(t, os.RemoveAll(k))
	require.NoError(t, os.Symlink(l, k))
	require.Empty(t, drain(t, s, "k"))
	require.EqualError(t, s.Put(background, "k", entry("a")), "dirstore: put: not a file of the store")
	require.Equal(t, []string{"b"}, drain(t, s, "l"))
	require.NoError(t, s.Clear(background))
	require.NoFileExists(t, l)
	_, err := os.Lstat(k)
	require.NoError(t, err)
}

// What takes the place of the store's directory while it is in use is looked at
// as Open does, before a key's directory is made in it.
func TestPutMakesNothingWhereOthersControl(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, dir string) string{
		"can be written by others": func(t *testing.T, dir string) string {
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.Chmod(dir, 0o777))
			return dir
		},
		"is a symbolic link": func(t *testing.T, dir string) string {
			other := t.TempDir()
			require.NoError(t, os.Symlink(other, dir))
			return other
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := open(t, dir, dirstore.Options{})
			put(t, s, "k", "a")
			require.NoError(t, os.RemoveAll(dir))
			now := replace(t, dir)
			err := s.Put(background, "k", entry("b"))
			require.ErrorContains(t, err, name)
			require.ErrorIs(t, err, cache.ErrNotStored)
			require.Empty(t, files(t, now))
		})
	}
}

// The umask is the process's, so another one sets it.
func TestModesArePrivateWhateverTheUmask(t *testing.T) {
	for _, umask := range []string{"0", "022", "077", "0177", "0777"} {
		dir := filepath.Join(t.TempDir(), "store")
		require.Empty(t, play(t, "put with umask", dir, umask))
		paths := append(files(t, dir), ".")
		require.Len(t, paths, 4)
		for _, path := range paths {
			info, err := os.Lstat(filepath.Join(dir, path))
			require.NoError(t, err)
			want := fs.FileMode(0o600)
			if info.IsDir() {
				want = fs.ModeDir | 0o700
			}
			require.Equal(t, want, info.Mode(), "%s with umask %s", path, umask)
		}
	}
}

func TestExhaustedDescriptorsAreAnErrorAndLoseNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a", "b")
	out := play(t, "without descriptors", dir)
	calls := []string{"take", "delete", "list", "put", "clear"}
	require.Len(t, out, len(calls))
	for i, call := range calls {
		require.True(t, strings.HasPrefix(out[i], "dirstore: "+call+": "), out[i])
		require.Contains(t, out[i], syscall.EMFILE.Error())
	}
	require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
}

// Root may do everything, so what permissions forbid is tested as nobody.
func TestWhatPermissionsForbidIsAnErrorOrSkipped(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	home := t.TempDir()
	for dir := home; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	dir := filepath.Join(home, "store")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chown(dir, nobody, nobody))
	require.Equal(t, []string{"as it should"}, playAsNobody(t, home, "forbid", dir))
}
