package dirstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// A meddler is a context that lets something happen between two steps of a
// call: at each step the call asks it whether it is done.
type meddler struct {
	context.Context
	asked int
	at    map[int]func() error // by how often it was asked before
	over  error
}

func (m *meddler) Err() error {
	m.asked++
	if do := m.at[m.asked-1]; do != nil && m.over == nil {
		m.over = do()
	}
	return m.over
}

func meddling(at map[int]func() error) *meddler {
	return &meddler{Context: context.Background(), at: at}
}

func cancelled() error { return context.Canceled }

// What has been removed is handed out even if the context ends meanwhile, and
// what has not stays.
func TestContextThatEndsDuringTakeLosesNothing(t *testing.T) {
	s := openAt(t, t.TempDir())
	for _, id := range []string{"a", "b", "c"} {
		s.putAt(t, id, noon)
	}
	got, err := s.take(meddling(map[int]func() error{3: cancelled}), "k", 9, noon)
	require.NoError(t, err)
	require.Len(t, got, 2)
	got, err = s.take(meddling(map[int]func() error{1: cancelled}), "k", 9, noon)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, got)
	require.Equal(t, []string{"a"}, s.takenAt(t, noon))
}

// Who loses the only entry to another looks again: one may have been put since.
func TestTakeThatLostLooksAgain(t *testing.T) {
	dir := t.TempDir()
	s, other := openAt(t, dir), openAt(t, dir)
	s.putAt(t, "a", noon)
	got, err := s.take(meddling(map[int]func() error{1: func() error {
		require.Equal(t, []string{"a"}, other.takenAt(t, noon))
		other.putAt(t, "b", noon)
		return nil
	}}), "k", 1, noon)
	require.NoError(t, err)
	require.Equal(t, "b", got[0].ID)
}

func TestTakeThatAlwaysLosesEnds(t *testing.T) {
	dir := t.TempDir()
	s, other := openAt(t, dir), openAt(t, dir)
	s.putAt(t, "0", noon)
	at := make(map[int]func() error)
	for round := range 2 * maxRounds {
		at[2*round+1] = func() error {
			require.Equal(t, []string{fmt.Sprint(round)}, other.takenAt(t, noon))
			other.putAt(t, fmt.Sprint(round+1), noon)
			return nil
		}
	}
	_, err := s.take(meddling(at), "k", 1, noon)
	require.Equal(t, cache.ErrMiss, err)
	require.Equal(t, []string{fmt.Sprint(maxRounds)}, other.takenAt(t, noon))
}

// An error of Put says that nothing was stored only if nobody can have had it.
func TestFailedPutSaysNotStoredOnlyIfNobodyHadIt(t *testing.T) {
	dir := t.TempDir()
	s, other := openAt(t, dir), openAt(t, dir)
	entries := []cache.Entry{{ID: "a"}, {ID: "b"}}
	err := s.put(meddling(map[int]func() error{2: cancelled}), "k", entries, noon)
	require.ErrorIs(t, err, cache.ErrNotStored)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, s.takenAt(t, noon))

	err = s.put(meddling(map[int]func() error{2: func() error {
		require.Equal(t, []string{"a"}, other.takenAt(t, noon))
		return context.Canceled
	}}), "k", entries, noon)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, cache.ErrNotStored)
}

// A rename that fails may have been done all the same, by a server whose answer
// was lost.
func TestFailedRenameIsNotTakenForUndone(t *testing.T) {
	s := openAt(t, t.TempDir())
	name := newFileName(1, 0, idNameOf("a"), 0)
	f := &folder{name: keyName("k"), path: s.keyDir(keyName("k"))}
	require.NoError(t, os.MkdirAll(filepath.Join(f.file(string(name)), "x"), 0o700))
	require.Error(t, s.write(f, name, []byte("x")))
	require.NoFileExists(t, f.file(string(name)+tmpSuffix))
	require.False(t, s.takeBack(f, 0))
}

func TestTwoKeysWithOneHashStayApart(t *testing.T) {
	s := openAt(t, t.TempDir())
	s.putAt(t, "a", noon)
	f, err := s.list(keyName("k"))
	require.NoError(t, err)
	name := newFileName(maxSeq, 0, idNameOf("b"), 0)
	require.NoError(t, s.write(f, name, encode(f.name, name, "other", cache.Entry{ID: "b"})))
	require.Equal(t, []string{"a"}, s.takenAt(t, noon))
	require.FileExists(t, f.file(string(name)))
	require.NotZero(t, s.Stats().Foreign)
}

func TestCensusThatFailsComesAgain(t *testing.T) {
	s := openAt(t, t.TempDir())
	s.opts.MaxEntries = 32 // fewer than one key may have, so that all are counted
	s.putAt(t, "a", noon)
	s.untilCensus.Store(1)
	s.countPuts(meddling(map[int]func() error{0: cancelled}), 1, noon)
	require.Equal(t, int64(1), s.untilCensus.Load())
	s.countPuts(within, 1, noon)
	require.Equal(t, s.censusEvery(), s.untilCensus.Load())
}

func TestSequenceNeverStands(t *testing.T) {
	s := openAt(t, t.TempDir())
	first := s.sequence(noon, 3)
	require.Equal(t, uint64(noon.UnixMicro()), first)
	require.Equal(t, first+3, s.sequence(noon, 1))
	require.Equal(t, first+4, s.sequence(noon.AddDate(-1, 0, 0), 1))
}

func TestMissHasNoOtherName(t *testing.T) {
	require.Equal(t, cache.ErrMiss, fail("take", cache.ErrMiss))
	require.NoError(t, fail("take", nil))
	require.EqualError(t, fail("take", errors.New("x")), "dirstore: take: x")
}
