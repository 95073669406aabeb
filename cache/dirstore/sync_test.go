package dirstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// synced opens a store whose directory syncs are noted: which directory, and
// how many files were in it then. They fail with the error in fails.
func synced(t *testing.T) (s *Store, notes *[]string, fails *error) {
	t.Helper()
	if !canSync {
		_, err := Open(t.TempDir(), Options{Sync: true})
		require.EqualError(t, err, "dirstore: Options.Sync: this system cannot sync directories")
		t.Skip("this system cannot sync directories")
	}
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, Options{Sync: true})
	require.NoError(t, err)
	notes, fails = new([]string), new(error)
	s.sync = func(path string) error {
		found, err := os.ReadDir(path)
		require.NoError(t, err)
		kind := "store"
		if path != dir {
			kind = "key"
		}
		*notes = append(*notes, kind+" with "+string(rune('0'+len(found))))
		return *fails
	}
	return s, notes, fails
}

// TestSyncComesBeforeTheReturn holds the order on which at-most-once after a
// loss of power rests: first the change, then the sync, then the return.
func TestSyncComesBeforeTheReturn(t *testing.T) {
	s, notes, _ := synced(t)
	require.NoError(t, s.Put(within, "k", cache.Entry{ID: "a"}, cache.Entry{ID: "b"}, cache.Entry{ID: "c"}))
	require.Equal(t, []string{"store with 1", "key with 3"}, *notes)
	*notes = nil
	_, err := s.Take(within, "k", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"key with 1"}, *notes, "one for all that were taken")
	*notes = nil
	was, err := s.Delete(within, "k", "a")
	require.NoError(t, err)
	require.True(t, was)
	require.Equal(t, []string{"key with 0"}, *notes)
	*notes = nil
	_, err = s.Take(within, "k", 1)
	require.Equal(t, cache.ErrMiss, err)
	require.Empty(t, *notes, "nothing has changed")
}

func TestWhatCannotBeSyncedIsNotHandedOut(t *testing.T) {
	s, _, fails := synced(t)
	require.NoError(t, s.Put(within, "k", cache.Entry{ID: "a"}, cache.Entry{ID: "b"}))
	*fails = errors.New("disk on fire")
	got, err := s.Take(within, "k", 1)
	require.EqualError(t, err, "dirstore: take: disk on fire")
	require.Empty(t, got)
	was, err := s.Delete(within, "k", "a")
	require.EqualError(t, err, "dirstore: delete: disk on fire")
	require.False(t, was)
	require.EqualError(t, s.Put(within, "k", cache.Entry{ID: "c"}), "dirstore: put: disk on fire")
	require.EqualError(t, s.Clear(within), "dirstore: clear: disk on fire")
}

// A Put that fails takes back what it has written, and no more: what was there
// is not above a bound for it.
func TestPutThatFailsCostsNoOtherEntry(t *testing.T) {
	s, _, fails := synced(t)
	s.opts.MaxPerKey = 2
	require.NoError(t, s.Put(within, "k", cache.Entry{ID: "a"}, cache.Entry{ID: "b"}))
	sync := s.sync
	s.sync = func(path string) error { // the first time only
		s.sync = sync
		return errors.New("disk on fire")
	}
	err := s.Put(within, "k", cache.Entry{ID: "c"}, cache.Entry{ID: "b"})
	require.ErrorIs(t, err, cache.ErrNotStored)
	require.NoError(t, *fails)
	got, err := s.Take(within, "k", 3)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, "b", got[0].ID)
	require.Equal(t, "a", got[1].ID)
}
