package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// maxRounds is how often Take lists a key whose entries were all lost to
// others while it tried. Each round that it loses, some other has won.
const maxRounds = 8

// Take removes up to max entries of the key, the newest first. It is specified
// by cache.Store.
func (s *Store) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	taken, err := s.take(ctx, key, max, time.Now())
	return taken, fail("take", err)
}

// take lists, takes, and lists again if all that it saw went to others. That is
// bounded: who has lost so often reports a miss, which costs a handshake and
// not more time than it had.
func (s *Store) take(ctx context.Context, key string, max int, now time.Time) ([]cache.Entry, error) {
	if max < 1 {
		return nil, fmt.Errorf("at most %d entries make no sense", max)
	}
	name := keyName(key)
	for range maxRounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := s.list(name)
		switch {
		case err == errForeign || errors.Is(err, fs.ErrNotExist):
			return nil, cache.ErrMiss
		case err != nil:
			return nil, err
		}
		s.dropStale(f, now)
		taken, again, err := s.takeFrom(ctx, f, key, max, momentOf(now))
		if len(taken) > 0 || err != nil {
			return taken, err
		}
		if !again {
			break
		}
	}
	return nil, cache.ErrMiss
}

// takeFrom takes from one listing, and reports whether another listing may have
// more, because it lost a race. A file that cannot be removed hides no other,
// but is the error if nothing else can be taken: a miss would hide a directory
// that has become read-only.
func (s *Store) takeFrom(ctx context.Context, f *folder, key string, max int, now moment) (taken []cache.Entry, again bool, err error) {
	for i := len(f.files) - 1; i >= 0 && len(taken) < max; i-- {
		if ctx.Err() != nil {
			err = ctx.Err()
			break
		}
		n := f.files[i]
		if n == "" {
			continue // dropped below a newer one of its ID
		}
		// Before it goes itself: if this process dies in between, the older
		// one is not left as the newest.
		s.dropReplaced(f, i)
		if n.expired(now) {
			s.drop(f, n, &s.counts.expired)
			continue
		}
		e, takeErr := s.takeFile(f, n, key)
		switch {
		case takeErr == nil:
			taken = append(taken, e)
		case takeErr == errLost:
			again = true
		case takeErr == errSkipped:
		case exhausted(takeErr):
			i, err = 0, takeErr // the last: the next would fail as well
		default:
			err = takeErr
		}
	}
	if len(taken) == 0 {
		return nil, again, err
	}
	// With some in hand an error is passed over, also the context's: they are
	// removed, and would be lost (cache.Store, Contexts).
	s.counts.taken.Add(uint64(len(taken)))
	if err := s.syncDir(f.path); err != nil {
		return nil, false, err // a loss of power might bring them back
	}
	return taken, again, nil
}

// What became of a file, for takeFrom alone: after errLost another listing may
// have more, as who was faster may have put, too. After errSkipped it has not.
var (
	errLost    = errors.New("another was faster")
	errSkipped = errors.New("not an entry that can be taken")
)

// takeFile reads a file and then removes it, and the entry is ours if the
// removal is. In this order a file that turns out to be of no use is known
// before, and a death in between costs nothing. Names are used once, so what
// is removed is what was read.
func (s *Store) takeFile(f *folder, n fileName, key string) (cache.Entry, error) {
	of, e, err := s.load(f, n)
	if err == nil && of != key {
		err = errForeign // two keys with one hash
	}
	switch {
	case err == errDamaged:
		s.drop(f, n, &s.counts.damaged)
		return cache.Entry{}, errSkipped
	case errors.Is(err, fs.ErrNotExist):
		s.counts.lost.Add(1)
		return cache.Entry{}, errLost
	case err != nil:
		if err := s.skip(err); err != nil {
			return cache.Entry{}, err
		}
		return cache.Entry{}, errSkipped
	}
	// This is the moment in which it becomes ours, or another's.
	switch err := remove(f.file(string(n))); {
	case err == nil:
		return e, nil
	case errors.Is(err, fs.ErrNotExist):
		s.counts.lost.Add(1)
		return cache.Entry{}, errLost
	default:
		s.counts.unreadable.Add(1)
		return cache.Entry{}, err
	}
}

// Delete removes an entry and reports whether it was there. It is specified by
// cache.Store.
func (s *Store) Delete(ctx context.Context, key, id string) (bool, error) {
	was, err := s.delete(ctx, key, idNameOf(id), time.Now())
	return was, fail("delete", err)
}

// delete looks for the newest of the ID: older ones are replaced, and go first.
func (s *Store) delete(ctx context.Context, key string, id idName, now time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	f, err := s.list(keyName(key))
	switch {
	case err == errForeign || errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	for i := len(f.files) - 1; i >= 0; i-- {
		if n := f.files[i]; n.id() == id {
			s.dropReplaced(f, i)
			return s.deleteFile(f, n, momentOf(now))
		}
	}
	return false, nil
}

// deleteFile does not open the file. If it is damaged, whoever deletes it has
// still kept everybody else from it. The removal decides, as for Take; if it is
// not known to be on disk, the caller does not have it.
func (s *Store) deleteFile(f *folder, n fileName, now moment) (bool, error) {
	if n.expired(now) {
		return false, s.drop(f, n, &s.counts.expired)
	}
	err := remove(f.file(string(n)))
	if errors.Is(err, fs.ErrNotExist) {
		s.counts.lost.Add(1)
		return false, nil
	}
	if err == nil {
		err = s.syncDir(f.path)
	}
	if err != nil {
		return false, err
	}
	s.counts.deleted.Add(1)
	return true, nil
}
