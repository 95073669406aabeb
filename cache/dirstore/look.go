package dirstore

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// Peek shows all entries that are there, without taking or removing any, until
// visit says false: keys in any order, the entries of a key from the newest to
// the oldest. It is for tools; to use an entry one must Take it. Its errors are
// those of List.
func (s *Store) Peek(ctx context.Context, visit func(key string, e cache.Entry) bool) error {
	return fail("peek", s.peek(ctx, visit, time.Now()))
}

// List is specified by cache.Lister. It reads the files to know their keys and
// IDs, so it shows only what Take can return. That a file cannot be read, or is
// larger than MaxValue allows, is the error after the rest.
func (s *Store) List(ctx context.Context) iter.Seq2[cache.Listed, error] {
	return func(yield func(cache.Listed, error) bool) {
		left := false // then there is nobody to hear of an error
		err := s.peek(ctx, func(key string, e cache.Entry) bool {
			left = !yield(cache.Listed{Key: key, ID: e.ID, Size: len(e.Value), Expires: e.Expires}, nil)
			return !left
		}, time.Now())
		if err != nil && !left {
			yield(cache.Listed{}, fail("list", err))
		}
	}
}

// peek shows what Take could return. It removes neither what has expired nor
// what is damaged: a tool that looks must not change what it looks at.
func (s *Store) peek(ctx context.Context, visit func(string, cache.Entry) bool, now time.Time) error {
	var failed error
	err := s.eachFolder(ctx, func(f *folder) bool {
		seen := make(map[idName]bool, len(f.files))
		// Of an ID the newest alone counts, also if it has expired: what is
		// below it was replaced.
		for _, n := range slices.Backward(f.files) {
			if seen[n.id()] || n.expired(momentOf(now)) {
				seen[n.id()] = true
				continue
			}
			seen[n.id()] = true
			key, e, err := s.load(f, n)
			if err != nil {
				if err := s.skip(err); err != nil {
					failed = err
					return false
				}
				if hides(err) {
					failed = cmp.Or(failed, err)
				}
				continue
			}
			if !visit(key, e) {
				return false
			}
		}
		return true
	})
	return cmp.Or(failed, err)
}

// hides reports whether there may be an entry in a file that load could not
// read. Whoever lists entries to delete them (resume's Scope.Clear) must hear
// of it. What is foreign, damaged or gone is no entry for anybody.
func hides(err error) bool {
	return err != errForeign && err != errDamaged && !errors.Is(err, fs.ErrNotExist)
}

// eachFolder lists one key's directory after the other until visit says false.
// One that cannot be listed is an error at the end and hides no other. One that
// has gone since was empty, or somebody else's Clear was there.
func (s *Store) eachFolder(ctx context.Context, visit func(*folder) bool) error {
	names, err := s.keyDirs(-1)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := s.list(name)
		switch {
		case err == nil:
			if !visit(f) {
				return nil
			}
		case exhausted(err):
			return err // the next would fail as well
		case err != errForeign && !errors.Is(err, fs.ErrNotExist):
			s.counts.unreadable.Add(1)
			failed = cmp.Or(failed, err)
		}
	}
	return cmp.Or(ctx.Err(), failed)
}

// keyDirs returns the names of the keys' directories, or of the first of them
// if limit is not negative.
func (s *Store) keyDirs(limit int) (names []string, err error) {
	d, err := openDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed since Open; Put makes it again
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	all, err := readNames(d, limit)
	for _, name := range all {
		if isKeyName(name) {
			names = append(names, name)
		} else {
			s.counts.foreign.Add(1)
		}
	}
	return names, err
}

// readNames is Readdirnames, for which nothing more to read is an error.
func readNames(d *os.File, limit int) ([]string, error) {
	names, err := d.Readdirnames(limit)
	if err == io.EOF { // with a limit, if there is none
		err = nil
	}
	return names, err
}
