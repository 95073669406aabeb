package dirstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

var (
	noon   = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	within = context.Background()
)

func openAt(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	return s
}

func (s *Store) putAt(t *testing.T, id string, now time.Time) {
	t.Helper()
	require.NoError(t, s.put(within, "k", []cache.Entry{{ID: id}}, now))
}

func (s *Store) takenAt(t *testing.T, now time.Time) (ids []string) {
	t.Helper()
	for {
		got, err := s.take(within, "k", 1, now)
		if err != nil {
			require.ErrorIs(t, err, cache.ErrMiss)
			return ids
		}
		ids = append(ids, got[0].ID)
	}
}

// Processes have clocks, or read one clock, that stand, jump ahead or go back.
func TestOrderIsThatOfPutsWhateverTheClocksSay(t *testing.T) {
	dir := t.TempDir()
	first, second := openAt(t, dir), openAt(t, dir)
	year := 365 * 24 * time.Hour
	for _, step := range []struct {
		s   *Store
		id  string
		now time.Time
	}{
		{first, "a", noon}, {second, "b", noon}, {first, "c", noon}, // stands
		{second, "d", noon.Add(time.Second)},
		{first, "e", noon.Add(-year)}, {second, "f", noon.Add(-year)}, // back
		{first, "g", noon.Add(100 * year)}, {second, "h", noon}, // ahead, and back
		{second, "i", time.Unix(-1, 0)}, {first, "j", time.Time{}},
		{openAt(t, dir), "k", noon},
	} {
		step.s.putAt(t, step.id, step.now)
	}
	require.Equal(t, []string{"k", "j", "i", "h", "g", "f", "e", "d", "c", "b", "a"}, second.takenAt(t, noon))
}

// A clock that was far ahead once leaves its mark only on keys that still have
// what was put then.
func TestOrderForgetsAClockThatWasAhead(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	s.putAt(t, "a", noon.AddDate(500, 0, 0))
	require.Equal(t, []string{"a"}, s.takenAt(t, noon))
	late := openAt(t, dir)
	late.putAt(t, "b", noon)
	f, err := late.list(keyName("k"))
	require.NoError(t, err)
	require.Equal(t, uint64(noon.UnixMicro()), f.files[0].seq())
}

// Order can be given no more when the numbers are used up; entries still come
// once each.
func TestNothingComesTwiceAtTheEndOfNumbers(t *testing.T) {
	s := openAt(t, t.TempDir())
	end := time.UnixMicro(maxSeq - 1)
	for i := range 5 {
		s.putAt(t, fmt.Sprint(i), end)
	}
	require.ElementsMatch(t, []string{"0", "1", "2", "3", "4"}, s.takenAt(t, noon))
}

// A name that came again could be removed by who has read its predecessor.
func TestNamesAreUsedOnce(t *testing.T) {
	dir := t.TempDir()
	seen := make(map[fileName]bool)
	for range 200 {
		s := openAt(t, dir)
		s.putAt(t, "a", noon)
		f, err := s.list(keyName("k"))
		require.NoError(t, err)
		require.False(t, seen[f.files[0]])
		seen[f.files[0]] = true
		require.Equal(t, []string{"a"}, s.takenAt(t, noon))
	}
}

func TestClockDecidesOverExpiry(t *testing.T) {
	s := openAt(t, t.TempDir())
	for _, id := range []string{"a", "b"} {
		require.NoError(t, s.put(within, "k", []cache.Entry{{ID: id, Expires: noon}}, noon.Add(-time.Hour)))
	}
	was, err := s.delete(within, "k", idNameOf("b"), noon)
	require.NoError(t, err)
	require.False(t, was)
	got, err := s.take(within, "k", 1, noon.Add(-time.Millisecond))
	require.NoError(t, err)
	require.Equal(t, "a", got[0].ID)
	require.True(t, got[0].Expires.Equal(noon))
}

// TestRandomCallsAgreeWithAModel runs calls at random times in two stores on
// one directory and one list in memory.
func TestRandomCallsAgreeWithAModel(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{openAt(t, dir), openAt(t, dir)}
	r := rand.New(rand.NewPCG(1, 2))
	var model []cache.Entry // the oldest first
	remove := func(id string, now time.Time) (was bool) {
		kept := model[:0]
		for _, e := range model {
			if e.ID == id {
				was = was || !e.Expired(now)
			} else {
				kept = append(kept, e)
			}
		}
		model = kept
		return was
	}
	for i := range 3000 {
		s, id := stores[r.IntN(2)], fmt.Sprint(r.IntN(12))
		now := noon.Add(time.Duration(i) * time.Second)
		switch r.IntN(4) {
		case 0, 1:
			e := cache.Entry{ID: id, Value: fmt.Append(nil, i), Expires: now.Add(time.Duration(r.IntN(60)-5) * time.Second)}
			require.NoError(t, s.put(within, "k", []cache.Entry{e}, now.Add(time.Duration(r.IntN(3)-1)*time.Second)))
			remove(id, now)
			model = append(model, e)
		case 2:
			was, err := s.delete(within, "k", idNameOf(id), now)
			require.NoError(t, err)
			require.Equal(t, remove(id, now), was, "delete %s in step %d", id, i)
		case 3:
			var want []string
			for n := len(model) - 1; n >= 0 && len(want) < 2; n-- {
				if e := model[n]; !e.Expired(now) {
					want = append(want, e.ID+" "+string(e.Value))
				}
			}
			var got []string
			entries, _ := s.take(within, "k", 2, now)
			for _, e := range entries {
				got = append(got, e.ID+" "+string(e.Value))
				remove(e.ID, now)
			}
			require.Equal(t, want, got, "take in step %d", i)
		}
	}
}

// What the census removes is the oldest by name, wherever it is.
func TestSweepKeepsItsBoundWithOtherOptions(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir)
	for i := range 30 {
		require.NoError(t, s.put(within, fmt.Sprint(i%3), []cache.Entry{{ID: fmt.Sprint(i)}}, noon))
	}
	small, err := Open(dir, Options{MaxPerKey: 8, MaxEntries: 12})
	require.NoError(t, err)
	removed, err := small.sweep(within, noon)
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	require.Len(t, found, 12)
	require.LessOrEqual(t, removed, 18) // Open has swept two keys
	require.Equal(t, Stats{Evicted: 18}, small.Stats())
	require.NoError(t, os.RemoveAll(dir))
}
