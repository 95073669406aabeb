package dirstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

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
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, dirstore.Options{})
		soon := time.Now().Add(time.Second)
		require.NoError(t, s.Put(background, "gone", cache.Entry{ID: "c", Expires: soon}))
		gone := filepath.Dir(entryFiles(t, dir)[0])
		require.NoError(t, s.Put(background, "mixed", entry("a"), cache.Entry{ID: "b", Expires: soon}))
		old, young := leaveTmp(t, gone, "0", time.Hour), leaveTmp(t, gone, "1", time.Minute)
		time.Sleep(time.Until(soon))

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
	})
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
	synctest.Test(t, func(t *testing.T) {
		for name, call := range map[string]func(*dirstore.Store){
			"Take":                         func(s *dirstore.Store) { s.Take(background, "k", 1) },
			"Put":                          func(s *dirstore.Store) { s.Put(background, "k", entry("new")) },
			"the first Put of another key": func(s *dirstore.Store) { s.Put(background, "l", entry("new")) },
		} {
			dir := t.TempDir()
			s := open(t, dir, dirstore.Options{})
			soon := time.Now().Add(time.Second)
			require.NoError(t, s.Put(background, "k", entry("a"), cache.Entry{ID: "b", Expires: soon}))
			expired := entryFiles(t, dir)[1]
			tmp := leaveTmp(t, filepath.Dir(expired), "0", -time.Hour) // by a clock that was ahead
			time.Sleep(time.Until(soon))
			require.FileExists(t, expired)
			if name != "Put" && name != "Take" {
				s = open(t, dir, dirstore.Options{})
			}
			call(s)
			require.NoFileExists(t, expired, name)
			require.NoFileExists(t, tmp, name)
		}
	})
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
