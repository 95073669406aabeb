package dirstore_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
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

func TestMaxEntriesDropsTheOldestOfAllKeys(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{MaxEntries: 10})
	for i := range 25 {
		put(t, s, fmt.Sprint(i%20), fmt.Sprint(i))
	}
	require.Len(t, entryFiles(t, dir), 10)
	var left []string
	require.NoError(t, s.Peek(background, func(_ string, e cache.Entry) bool {
		left = append(left, e.ID)
		return true
	}))
	require.ElementsMatch(t, []string{"15", "16", "17", "18", "19", "20", "21", "22", "23", "24"}, left)
}

func TestMaxEntriesIsExceededByASixteenthAtMost(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{MaxEntries: 160})
	most := 0
	for i := range 500 {
		put(t, s, fmt.Sprint(i%90), fmt.Sprint(i))
		most = max(most, len(entryFiles(t, dir)))
	}
	require.LessOrEqual(t, most, 160+10)
	require.Greater(t, most, 150)
}

// Programs that put one entry and exit each begin to count anew.
func TestMaxEntriesHoldsForShortLives(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		put(t, open(t, dir, dirstore.Options{MaxEntries: 48}), fmt.Sprint(i), "a")
	}
	// One in three counts; that 40 in a row do not is one case in 10^7.
	require.LessOrEqual(t, len(entryFiles(t, dir)), 48+40)
}

func TestSweepRemovesWhatIsOfNoUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	soon := time.Now().Add(20 * time.Millisecond)
	require.NoError(t, s.Put(background, "gone", cache.Entry{ID: "c", Expires: soon}))
	gone := filepath.Dir(entryFiles(t, dir)[0])
	require.NoError(t, s.Put(background, "mixed", entry("a"), cache.Entry{ID: "b", Expires: soon}))
	old, young := leaveTmp(t, gone, "0", time.Hour), leaveTmp(t, gone, "1", time.Minute)
	time.Sleep(time.Until(soon) + 2*time.Millisecond)

	removed, err := s.Sweep(background)

	require.NoError(t, err)
	require.Equal(t, 3, removed)
	require.NoFileExists(t, old)
	require.FileExists(t, young, "its writer may live")
	require.Equal(t, []string{"a"}, drain(t, s, "mixed"))
	require.NoError(t, os.Remove(young))
	_, err = s.Sweep(background)
	require.NoError(t, err)
	require.Empty(t, files(t, dir), "directories without entries are gone")
	require.Equal(t, dirstore.Stats{Put: 3, Taken: 1, Expired: 2, Stale: 1}, s.Stats())
}

// leaveTmp leaves a temporary file behind, as a writer that died does.
func leaveTmp(t *testing.T, folder, nonce string, ago time.Duration) (path string) {
	t.Helper()
	zeros := strings.Repeat("0", 39)
	path = filepath.Join(folder, zeros[:11]+"-"+zeros[:10]+"-"+zeros[:16]+"-0000"+nonce+".tmp")
	require.NoError(t, os.WriteFile(path, []byte("half"), 0o600))
	at := time.Now().Add(-ago)
	require.NoError(t, os.Chtimes(path, at, at))
	return path
}

// What has expired and what was left behind goes when a call comes across it.
func TestCallsRemoveWhatTheyMeet(t *testing.T) {
	for name, call := range map[string]func(*dirstore.Store){
		"Take":                         func(s *dirstore.Store) { s.Take(background, "k", 1) },
		"Put":                          func(s *dirstore.Store) { s.Put(background, "k", entry("new")) },
		"the first Put of another key": func(s *dirstore.Store) { s.Put(background, "l", entry("new")) },
	} {
		dir := t.TempDir()
		s := open(t, dir, dirstore.Options{})
		soon := time.Now().Add(20 * time.Millisecond)
		require.NoError(t, s.Put(background, "k", entry("a"), cache.Entry{ID: "b", Expires: soon}))
		expired := entryFiles(t, dir)[1]
		tmp := leaveTmp(t, filepath.Dir(expired), "0", -time.Hour) // by a clock that was ahead
		time.Sleep(time.Until(soon) + 2*time.Millisecond)
		require.FileExists(t, expired)
		if name != "Put" && name != "Take" {
			s = open(t, dir, dirstore.Options{})
		}
		call(s)
		require.NoFileExists(t, expired, name)
		require.NoFileExists(t, tmp, name)
	}
}

// A Sweep removes directories that are empty, also one that a Put has just
// found and is about to write into.
func TestSweepAmongPutsLosesNothing(t *testing.T) {
	s := open(t, t.TempDir(), dirstore.Options{})
	stop := make(chan bool)
	var sweeper sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.Sweep(background)
			}
		}
	})
	for i := range 2000 {
		put(t, s, "k", fmt.Sprint(i))
		require.Equal(t, []string{fmt.Sprint(i)}, drain(t, s, "k"))
	}
	close(stop)
	sweeper.Wait()
}

func TestClearLeavesWhatIsForeign(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{Sync: true})
	put(t, s, "k", "a", "b")
	folder := filepath.Dir(entryFiles(t, dir)[0])
	put(t, s, "l", "c")
	emptied := filepath.Dir(newestOf(t, dir, "c"))
	tmp := leaveTmp(t, folder, "0", 0)
	foreign := []string{
		filepath.Join(dir, "README"), filepath.Join(dir, strings.Repeat("z", 32)),
		filepath.Join(folder, ".DS_Store"), filepath.Join(folder, "x-y-z"), filepath.Join(folder, "x.tmp"),
	}
	for _, path := range foreign {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	require.NoError(t, s.Clear(background))
	require.Empty(t, entryFiles(t, dir))
	require.NoDirExists(t, emptied)
	require.NoFileExists(t, tmp, "it holds an entry, too")
	for _, path := range foreign {
		require.FileExists(t, path)
	}
	require.Empty(t, drain(t, s, "k"))
	put(t, s, "k", "c")
	require.Equal(t, []string{"c"}, drain(t, s, "k"))
}

func TestPeekShowsEverythingAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	put(t, s, "k", "a", "b")
	put(t, s, "l", "c")
	soon := time.Now().Add(10 * time.Millisecond)
	require.NoError(t, s.Put(background, "k", cache.Entry{ID: "expired", Expires: soon}))
	put(t, s, "k", "damaged")
	require.NoError(t, os.Truncate(newestOf(t, dir, "damaged"), 20))
	time.Sleep(time.Until(soon) + 2*time.Millisecond)
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
