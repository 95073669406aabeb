package dirstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// Sweep removes what has expired or is replaced, what is above a bound, what
// dead writers have left behind, and the directories of keys that have nothing
// any more. It returns how many files it has removed. It lists all directories
// and opens no file: 20 us per key.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	removed, err := s.sweep(ctx, time.Now())
	return removed, fail("sweep", err)
}

// Clear removes all entries and all temporary files, and then the directories
// that are empty. It is specified by cache.Store.
func (s *Store) Clear(ctx context.Context) error {
	return fail("clear", s.clear(ctx))
}

// clear goes on after an error: what can be removed is, and the caller hears
// that something may be left.
func (s *Store) clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var failed error // the first, and all others do their work
	err := s.eachFolder(ctx, func(f *folder) bool {
		failed = cmp.Or(failed, s.clearFolder(f))
		return true
	})
	return cmp.Or(failed, err)
}

// clearFolder removes temporary files as well, whatever their age: a Put that
// is writing one fails, or begins again, and what is put while Clear runs may
// stay.
func (s *Store) clearFolder(f *folder) (failed error) {
	for _, n := range f.files {
		failed = cmp.Or(failed, s.drop(f, n, &s.counts.deleted))
	}
	for _, tmp := range f.tmps {
		if err := remove(f.file(tmp)); !errors.Is(err, fs.ErrNotExist) {
			failed = cmp.Or(failed, err)
		}
	}
	failed = cmp.Or(failed, s.syncDir(f.path))
	os.Remove(f.path) // fails if there is something foreign, or new
	return failed
}

// sweep goes by names alone, and evicts after all have been seen: which are the
// oldest of all keys shows only then.
func (s *Store) sweep(ctx context.Context, now time.Time) (removed int, err error) {
	// Names of all keys at once, since the oldest of all are looked for.
	var all []placed
	err = s.eachFolder(ctx, func(f *folder) bool {
		removed += s.sweepFolder(f, now)
		for _, n := range f.files {
			all = append(all, placed{f, n})
		}
		return true
	})
	return removed + s.evict(all), err
}

// A placed file is one among those of all keys. With its name it takes some 90
// bytes, so that a census of 65536 entries takes 6 MB for a moment.
type placed struct {
	f *folder
	n fileName
}

// evict removes the oldest of all files above MaxEntries. Their order is that
// of their sequences, and so of the clocks that wrote them.
func (s *Store) evict(all []placed) (removed int) {
	excess := len(all) - s.opts.MaxEntries
	if excess <= 0 {
		return 0
	}
	slices.SortFunc(all, func(a, b placed) int { return cmp.Compare(a.n, b.n) })
	// One that another has dropped counts as well: it is one less.
	for _, p := range all[:excess] {
		if s.drop(p.f, p.n, &s.counts.evicted) == nil {
			removed++
		}
	}
	return removed
}

// sweepFolder leaves in f what remains there. Only here and in Clear do
// directories go: a Take that empties one leaves it, because the next ticket of
// that server is on its way and would have to make it again.
func (s *Store) sweepFolder(f *folder, now time.Time) (removed int) {
	removed = s.dropStale(f, now) + s.trim(f, nil, momentOf(now))
	if len(f.files) == 0 {
		os.Remove(f.path) // fails if a Put has begun, which makes it again else
	}
	return removed
}

// sweepOnce sweeps a little with the first Put, which nobody waits for, rather
// than with Open, which a handshake does.
func (s *Store) sweepOnce(now time.Time) {
	s.swept.Do(func() { s.sweepSome(now) })
}

// sweepSome sweeps two keys of the first that the directory has: about 50 us.
// It is what a program that is always short-lived contributes. What is behind
// the first is left to a census or to Sweep, since to list it all is what would
// take long.
func (s *Store) sweepSome(now time.Time) {
	const among, some = 64, 2
	names, err := s.keyDirs(among)
	if err != nil {
		return // the call that needs the directory will say so
	}
	for range min(some, len(names)) {
		i := rand.IntN(len(names))
		if f, err := s.list(names[i]); err == nil {
			s.sweepFolder(f, now)
		}
		names = slices.Delete(names, i, i+1)
	}
}

// countPuts takes the census when it is time. If that fails the next Put tries
// again: nobody but the bound is the worse for it, so it is no error of a Put
// that has done its work.
func (s *Store) countPuts(ctx context.Context, puts int, now time.Time) {
	if puts == 0 || s.untilCensus.Add(-int64(puts)) > 0 {
		return
	}
	// Before the census, so that Puts beside this one do not take it as well.
	s.untilCensus.Store(s.censusEvery())
	if err := s.census(ctx, now); err != nil {
		s.untilCensus.Store(1)
	}
}

// census sweeps, unless there are too few keys to exceed MaxEntries. Counting
// keys is one listing; counting entries is one per key.
func (s *Store) census(ctx context.Context, now time.Time) error {
	// Other processes may have a larger MaxPerKey, and then more under a key
	// than this reckons with: they count by their own.
	names, err := s.keyDirs(-1)
	if err != nil || int64(len(names))*int64(s.opts.MaxPerKey) <= int64(s.opts.MaxEntries) {
		return err
	}
	_, err = s.sweep(ctx, now)
	return err
}
