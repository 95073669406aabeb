package dirstore_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/cachetest"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

var background = context.Background()

func open(t testing.TB, dir string, opts dirstore.Options) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(dir, opts)
	require.NoError(t, err)
	return s
}

func entry(id string) cache.Entry { return cache.Entry{ID: id, Value: []byte("value of " + id)} }

func put(t testing.TB, s *dirstore.Store, key string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, s.Put(background, key, entry(id)))
	}
}

// drain takes what the key has, the newest first, and checks the values.
func drain(t testing.TB, s *dirstore.Store, key string) (ids []string) {
	t.Helper()
	for {
		got, err := s.Take(background, key, 3)
		if err != nil {
			require.ErrorIs(t, err, cache.ErrMiss)
			return ids
		}
		for _, e := range got {
			require.Equal(t, entry(e.ID), e)
			ids = append(ids, e.ID)
		}
	}
}

// files returns what is in a directory and below, with slashes, sorted.
func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			rel, _ := filepath.Rel(dir, path)
			paths = append(paths, filepath.ToSlash(rel))
		}
		return err
	}))
	return paths
}

// entryFiles are the paths of the files that hold entries; those of one key
// are in order of age.
func entryFiles(t testing.TB, dir string) (paths []string) {
	for _, name := range files(t, dir) {
		if strings.Count(name, "-") == 3 && !strings.HasSuffix(name, ".tmp") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// dirOptions make the contract's tests run in directories.
func dirOptions(opts dirstore.Options, parent string) cachetest.Options {
	dirs := make(map[cache.Store]string)
	reopen := func(t *testing.T, dir string) cache.Store {
		s := open(t, dir, opts)
		dirs[s] = dir
		return s
	}
	return cachetest.Options{
		New: func(t *testing.T) cache.Store {
			dir, err := os.MkdirTemp(parent, "dirstore")
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			return reopen(t, dir)
		},
		Reopen:    func(t *testing.T, s cache.Store) cache.Store { return reopen(t, dirs[s]) },
		MaxPerKey: opts.MaxPerKey,
	}
}

func TestStoreKeepsTheContract(t *testing.T) {
	cachetest.TestStore(t, func(t *testing.T) cache.Store {
		return open(t, t.TempDir(), dirstore.Options{})
	})
}

func TestStoreThatIsOpenTwiceKeepsTheContract(t *testing.T) {
	cachetest.Run(t, dirOptions(dirstore.Options{MaxPerKey: 40, MaxEntries: 4000}, t.TempDir()))
}

// TestSyncedStoreKeepsTheContract runs in memory where that is possible: what
// is synced there is all the same to the contract, and 1000 times faster.
func TestSyncedStoreKeepsTheContract(t *testing.T) {
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		t.Skip("no directory in memory: ", err)
	}
	cachetest.Run(t, dirOptions(dirstore.Options{MaxPerKey: 32, Sync: true}, memory))
}

func TestOpenRefusesNegativeOptions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for want, opts := range map[string]dirstore.Options{
		"dirstore: the bound MaxPerKey is negative":  {MaxPerKey: -1},
		"dirstore: the bound MaxEntries is negative": {MaxEntries: -1},
		"dirstore: the bound MaxValue is negative":   {MaxValue: -1},
	} {
		_, err := dirstore.Open(dir, opts)
		require.EqualError(t, err, want)
	}
	require.NoDirExists(t, dir)
}

// A variable that is not set is not the current directory.
func TestOpenRefusesNoName(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := dirstore.Open("", dirstore.Options{})
	require.ErrorContains(t, err, "no directory is named")
	open(t, ".", dirstore.Options{})
}

func TestOpenMakesTheDirectoryAndThoseAbove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "store")
	put(t, open(t, dir, dirstore.Options{}), "k", "a")
	require.Equal(t, []string{"a"}, drain(t, open(t, dir, dirstore.Options{}), "k"))
}

// A program may change its working directory after Open.
func TestRelativeDirectoryIsFoundFromElsewhere(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "store", dirstore.Options{})
	put(t, s, "k", "a")
	t.Chdir(t.TempDir())
	put(t, s, "k", "b")
	require.Equal(t, []string{"b", "a"}, drain(t, s, "k"))
}

// A cleaner of caches may remove it all under a running program.
func TestPutMakesTheDirectoryAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, dirstore.Options{Sync: true})
	put(t, s, "k", "a")
	require.NoError(t, os.RemoveAll(dir))
	require.Empty(t, drain(t, s, "k"))
	_, err := s.Sweep(background)
	require.NoError(t, err)
	put(t, s, "k", "b")
	require.Equal(t, []string{"b"}, drain(t, s, "k"))
}

func TestTooLargeIsRefusedAndNothingCut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{MaxValue: 10})
	require.EqualError(t, s.Put(background, "k", cache.Entry{ID: "a", Value: make([]byte, 11)}),
		"dirstore: put: a value has 11 bytes, at most 10 are allowed")
	long := strings.Repeat("x", 64<<10)
	require.EqualError(t, s.Put(background, "k", cache.Entry{ID: long}),
		"dirstore: put: key and ID have 65537 bytes, at most 65536 are allowed")
	require.Error(t, s.Put(background, long, cache.Entry{ID: "a"}))
	require.Empty(t, files(t, dir))

	largest := cache.Entry{ID: long[1:], Value: make([]byte, 10)}
	require.NoError(t, s.Put(background, "k", largest))
	got, err := s.Take(background, "k", 1)
	require.NoError(t, err)
	require.True(t, got[0].ID == largest.ID && len(got[0].Value) == 10)
}

// All entries are below the bound of the pool above, so that moving a key's
// pool to disk at exit loses none.
func TestDefaultKeepsSixtyFourPerKey(t *testing.T) {
	s := open(t, t.TempDir(), dirstore.Options{})
	for i := range 70 {
		put(t, s, "k", fmt.Sprint(i))
	}
	ids := drain(t, s, "k")
	require.Len(t, ids, 64)
	require.Equal(t, "6", ids[63])
	require.Equal(t, uint64(6), s.Stats().Evicted)
}

func TestPeekShowsEverythingAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, dirstore.Options{})
		put(t, s, "k", "a", "b")
		put(t, s, "l", "c")
		soon := time.Now().Add(time.Hour)
		require.NoError(t, s.Put(background, "k", cache.Entry{ID: "expired", Expires: soon}))
		put(t, s, "k", "damaged")
		require.NoError(t, os.Truncate(newestOf(t, dir, "damaged"), 20))
		time.Sleep(time.Until(soon))
		before := files(t, dir)

		seen := make(map[string][]string)
		visit := func(key string, e cache.Entry) bool {
			require.Equal(t, entry(e.ID), e)
			seen[key] = append(seen[key], e.ID)
			return true
		}
		require.NoError(t, s.Peek(background, visit))
		require.Equal(t, map[string][]string{"k": {"b", "a"}, "l": {"c"}}, seen)
		require.Equal(t, before, files(t, dir))
		require.Equal(t, uint64(1), s.Stats().Damaged)

		calls := 0
		require.NoError(t, s.Peek(background, func(string, cache.Entry) bool { calls++; return false }))
		require.Equal(t, 1, calls)
		done, cancel := context.WithCancel(background)
		cancel()
		require.ErrorIs(t, s.Peek(done, visit), context.Canceled)
	})
}

// newestOf is the file of the last put among those that hold a value.
func newestOf(t *testing.T, dir, id string) string {
	t.Helper()
	for _, path := range slices.Backward(entryFiles(t, dir)) {
		if b, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(b), "value of "+id) {
			return path
		}
	}
	t.Fatalf("no file holds the entry %s", id)
	return ""
}

// A Put writes before it removes. If it dies in between, the entry and what it
// replaces are both there.
func TestReplacedEntryThatWasLeftIsNotThere(t *testing.T) {
	for name, law := range map[string]func(*testing.T, *dirstore.Store){
		"Take": func(t *testing.T, s *dirstore.Store) {
			got, err := s.Take(background, "k", 9)
			require.NoError(t, err)
			require.Equal(t, []cache.Entry{{ID: "a", Value: []byte("new")}, entry("b")}, got)
		},
		"Delete": func(t *testing.T, s *dirstore.Store) {
			was, err := s.Delete(background, "k", "a")
			require.NoError(t, err)
			require.True(t, was)
			was, err = s.Delete(background, "k", "a")
			require.NoError(t, err)
			require.False(t, was)
			require.Equal(t, []string{"b"}, drain(t, s, "k"))
		},
		"List": func(t *testing.T, s *dirstore.Store) {
			ids := make(map[string]int)
			for l, err := range s.List(background) {
				require.NoError(t, err)
				ids[l.ID] = l.Size
			}
			require.Equal(t, map[string]int{"a": 3, "b": 10}, ids)
		},
		"Sweep": func(t *testing.T, s *dirstore.Store) {
			n, err := s.Sweep(background)
			require.NoError(t, err)
			require.Equal(t, 1, n)
		},
		"Put": func(t *testing.T, s *dirstore.Store) {
			put(t, s, "k", "a")
			require.Equal(t, []string{"a", "b"}, drain(t, s, "k"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, dirstore.Options{})
			put(t, s, "k", "a", "b")
			path := newestOf(t, dir, "a")
			old, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, s.Put(background, "k", cache.Entry{ID: "a", Value: []byte("new")}))
			require.NoFileExists(t, path)
			require.NoError(t, os.WriteFile(path, old, 0o600))
			law(t, s)
		})
	}
}

func TestStatsCountWhatIsMet(t *testing.T) {
	s := open(t, t.TempDir(), dirstore.Options{MaxPerKey: 2})
	past := time.Now().Add(-time.Hour)
	require.NoError(t, s.Put(background, "k", entry("a"), entry("b"), entry("c"), entry("c")))
	require.NoError(t, s.Put(background, "k", entry("b"), cache.Entry{ID: "x", Expires: past}))
	_, err := s.Delete(background, "k", "b")
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, drain(t, s, "k"))
	require.Equal(t, dirstore.Stats{Put: 3, Taken: 1, Deleted: 1, Expired: 1, Evicted: 1, Replaced: 2}, s.Stats())
}

// Nobody has what a failed Put was to store, so that whoever put it may go on
// with it.
func TestFailedPutStoresNothing(t *testing.T) {
	s := open(t, t.TempDir(), dirstore.Options{MaxValue: 10})
	over, cancel := context.WithCancel(background)
	cancel()
	for why, err := range map[string]error{
		"the context is over": s.Put(over, "k", entry("a")),
		"a value is too long": s.Put(background, "k", entry("a"), cache.Entry{ID: "b", Value: make([]byte, 11)}),
	} {
		require.ErrorIs(t, err, cache.ErrNotStored, why)
		require.Empty(t, drain(t, s, "k"), why)
	}
}
