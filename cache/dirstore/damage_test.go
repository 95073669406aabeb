package dirstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

// TestDamageCostsTheDamagedEntry damages the middle one of three entries in
// every way and takes them all.
func TestDamageCostsTheDamagedEntry(t *testing.T) {
	overwrite := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, change(b), 0o600))
		}
	}
	damages := map[string]func(*testing.T, string){
		"empty":     overwrite(func([]byte) []byte { return nil }),
		"longer":    overwrite(func(b []byte) []byte { return append(b, 'x') }),
		"other":     overwrite(func(b []byte) []byte { return []byte(strings.Repeat("x", len(b))) }),
		"all zeros": overwrite(func(b []byte) []byte { return make([]byte, len(b)) }),
	}
	for _, i := range []int{0, 4, 8, 15, 19, 23, 24, 25, 26, 30} {
		damages[fmt.Sprintf("byte %d", i)] = overwrite(func(b []byte) []byte { b[i] ^= 0x10; return b })
		damages[fmt.Sprintf("cut at %d", i)] = overwrite(func(b []byte) []byte { return b[:i] })
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, dirstore.Options{})
			put(t, s, "k", "a", "b", "c")
			path := newestOf(t, dir, "b")
			damage(t, path)
			require.Equal(t, []string{"c", "a"}, drain(t, s, "k"))
			require.NoFileExists(t, path, "it is met once")
			require.Equal(t, dirstore.Stats{Put: 3, Taken: 2, Damaged: 1}, s.Stats())
		})
	}
}

// A copy or link of a file, made by a backup or by hand, is no second entry.
func TestCopiesAreNoEntries(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a")
	put(t, s, "l", "b")
	a, b := newestOf(t, dir, "a"), newestOf(t, dir, "b")
	otherNonce := strings.Repeat("0", 5)
	if strings.HasSuffix(a, otherNonce) {
		otherNonce = strings.Repeat("1", 5)
	}
	copies := []string{
		a[:len(a)-5] + otherNonce,
		filepath.Join(filepath.Dir(b), filepath.Base(a)),
		filepath.Join(filepath.Dir(a), filepath.Base(b)),
	}
	for i, path := range copies {
		from := []string{a, a, b}[i]
		require.NoError(t, os.Link(from, path))
	}
	require.Equal(t, []string{"a"}, drain(t, s, "k"))
	require.Equal(t, []string{"b"}, drain(t, s, "l"))
	require.Equal(t, uint64(3), s.Stats().Damaged+s.Stats().Replaced)
}

func TestHugeFileIsSkipped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a", "b", "c")
	path := newestOf(t, dir, "b")
	require.NoError(t, os.Truncate(path, 1<<40), "as large as the disk pretends")
	require.Equal(t, []string{"c", "a"}, drain(t, s, "k"))
	require.FileExists(t, path)
	require.NotZero(t, s.Stats().TooLarge)

	// What another program with a larger bound has put is left to it.
	large := cache.Entry{ID: "large", Value: make([]byte, 300<<10)}
	require.NoError(t, open(t, dir, dirstore.Options{MaxValue: 1 << 20}).Put(background, "l", large))
	require.Empty(t, drain(t, s, "l"))
	got, err := open(t, dir, dirstore.Options{MaxValue: 1 << 20}).Take(background, "l", 1)
	require.NoError(t, err)
	require.Len(t, got[0].Value, 300<<10)
}

// Who lists entries to delete them hears of what could not be read, and sees
// the rest first.
func TestListEndsInAnErrorIfAFileCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{MaxValue: 10})
	put(t, s, "k", "a", "b", "c")
	require.NoError(t, open(t, dir, dirstore.Options{}).Put(background, "k", cache.Entry{ID: "large", Value: make([]byte, 100<<10)}))
	path := newestOf(t, dir, "b")
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600)) // is no entry
	var ids []string
	var failed error
	for listed, err := range s.List(background) {
		if failed = err; err == nil {
			ids = append(ids, listed.ID)
		}
	}
	require.Equal(t, []string{"c", "a"}, ids)
	require.ErrorContains(t, failed, "dirstore: list: a file is larger than MaxValue allows")
}

func TestForeignNamesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a")
	a := newestOf(t, dir, "a")
	folder, name := filepath.Split(a)
	foreign := []string{
		filepath.Join(dir, "README"), filepath.Join(dir, strings.ToUpper(filepath.Base(folder[:len(folder)-1]))+"~"),
		folder + "README", folder + name + "0", folder + name[1:], folder + strings.ToUpper(name), folder + name + ".bak",
		folder + strings.ReplaceAll(name, "-", "_"), folder + "z" + name[1:],
	}
	for _, path := range foreign {
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "lost+found", "x"), 0o700))
	_, err := s.Sweep(background)
	require.NoError(t, err)
	for range s.List(background) {
	}
	require.Equal(t, []string{"a"}, drain(t, s, "k"))
	require.NotZero(t, s.Stats().Foreign)
	for _, path := range foreign {
		require.FileExists(t, path)
	}
	require.DirExists(t, filepath.Join(dir, "lost+found", "x"))
}

// A file where a key's directory belongs costs that key.
func TestFileInPlaceOfAKeyIsAMiss(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a")
	put(t, s, "l", "b")
	folder := filepath.Dir(newestOf(t, dir, "a"))
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.WriteFile(folder, nil, 0o600))
	require.Empty(t, drain(t, s, "k"))
	was, err := s.Delete(background, "k", "a")
	require.NoError(t, err)
	require.False(t, was)
	require.EqualError(t, s.Put(background, "k", entry("a")), "dirstore: put: not a file of the store")
	require.NoError(t, s.Clear(background))
	require.FileExists(t, folder)
}

// What could not be read is told last, and not at all to a loop that was left
// before: to go on with that panics.
func TestListThatIsLeftTellsNoError(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{MaxValue: 10})
	put(t, s, "k", "a")
	require.NoError(t, open(t, dir, dirstore.Options{}).Put(background, "k", cache.Entry{ID: "large", Value: make([]byte, 100<<10)}))
	for listed, err := range s.List(background) {
		require.NoError(t, err)
		require.Equal(t, "a", listed.ID)
		break
	}
}
