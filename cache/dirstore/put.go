package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// Put adds entries under the key. It is specified by cache.Store.
func (s *Store) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	return fail("put", s.put(ctx, key, entries, time.Now()))
}

// put writes the new files before it removes what they replace and what is
// above a bound: if the process dies in between there is one entry too many,
// which the next call that meets it removes, and not one too few. An error
// after which all that it wrote is removed again wraps cache.ErrNotStored.
func (s *Store) put(ctx context.Context, key string, entries []cache.Entry, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return notStored(err)
	}
	if err := s.fits(key, entries); err != nil {
		return notStored(err)
	}
	s.sweepOnce(now)
	fresh, gone := s.plan(entries, now)
	f, err := s.list(keyName(key))
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(fresh) == 0: // nothing to replace
		return nil
	case errors.Is(err, fs.ErrNotExist):
		f = &folder{name: keyName(key), path: s.keyDir(keyName(key))} // write makes it
	case err != nil:
		return notStored(err)
	}
	s.dropStale(f, now)
	before := len(f.files) // the files after these are this Put's
	if err = s.writeAll(ctx, f, key, fresh, now); err != nil && s.takeBack(f, before) {
		err = notStored(err)
	}
	// Also after an error, after which what the entries replace may be gone
	// (cache.Store, Errors).
	s.trim(f, gone, momentOf(now))
	s.countPuts(ctx, len(fresh), now)
	return err
}

// notStored marks errors after which nothing of a Put is there.
func notStored(err error) error { return notStoredError{err} }

// A notStoredError reads as the error in it.
type notStoredError struct{ error }

// Is and Unwrap let errors.Is find both: what it means, and why it is so.
func (e notStoredError) Is(target error) bool { return target == cache.ErrNotStored }
func (e notStoredError) Unwrap() error        { return e.error }

// takeBack removes what a Put that failed has written, and reports whether
// nobody else was faster: only then is it certain that none of it is, or was,
// another's. A file whose rename has failed, and is not there, may be there yet
// over a network.
func (s *Store) takeBack(f *folder, before int) bool {
	if len(f.files) == before {
		return true
	}
	all := true
	for _, n := range f.files[before:] {
		all = remove(f.file(string(n))) == nil && all // all are tried
	}
	f.files = f.files[:before]
	return all && s.syncDir(f.path) == nil
}

// fits refuses what load would not read again.
func (s *Store) fits(key string, entries []cache.Entry) error {
	for _, e := range entries {
		if len(key)+len(e.ID) > maxNames {
			return fmt.Errorf("key and ID have %d bytes, at most %d are allowed", len(key)+len(e.ID), maxNames)
		}
		if len(e.Value) > s.opts.MaxValue {
			return fmt.Errorf("a value has %d bytes, at most %d are allowed", len(e.Value), s.opts.MaxValue)
		}
	}
	return nil
}

// plan says which entries are to be written, the oldest first, and which IDs
// only lose what they have, because their last entry here has expired. What
// would be removed at once, as it is replaced or above MaxPerKey, is not
// written at all.
func (s *Store) plan(entries []cache.Entry, now time.Time) (fresh []cache.Entry, gone []idName) {
	seen := make(map[string]bool, len(entries))
	// From the newest, which is what replacing and the bound go by.
	for _, e := range slices.Backward(entries) {
		switch {
		case seen[e.ID]:
			s.counts.replaced.Add(1)
		case e.Expired(now):
			s.counts.expired.Add(1)
			gone = append(gone, idNameOf(e.ID))
		case len(fresh) == s.opts.MaxPerKey:
			s.counts.evicted.Add(1)
		default:
			fresh = append(fresh, e)
		}
		seen[e.ID] = true
	}
	slices.Reverse(fresh)
	return fresh, gone
}

// makeFolder makes the key's directory, and the store's if somebody has removed
// it since Open, as cleaners of caches do. That nobody has put another in its
// place is checked again, which costs one Lstat.
func (s *Store) makeFolder(f *folder) error {
	if err := s.prepare(); err != nil {
		return err
	}
	return s.mkdir(f.path)
}

// writeAll writes entries as the newest of the folder. Their sequence is the
// clock's, unless something newer is there: then it comes from a clock that was
// ahead of this one, and the order of puts counts, not that of clocks.
func (s *Store) writeAll(ctx context.Context, f *folder, key string, entries []cache.Entry, now time.Time) error {
	if len(entries) == 0 {
		return nil
	}
	seq := s.sequence(now, len(entries))
	if n := len(f.files); n > 0 {
		seq = max(seq, f.files[n-1].seq()+1)
	}
	for i, e := range entries {
		if err := ctx.Err(); err != nil {
			return err // and what is written is taken back
		}
		name := newFileName(seq+uint64(i), millis(e.Expires), idNameOf(e.ID), rand.Uint32())
		if err := s.write(f, name, encode(f.name, name, key, e)); err != nil {
			return err
		}
		s.counts.put.Add(1)
	}
	return s.syncDir(f.path) // once for all names
}

// write makes a file appear at once and complete, and adds it to f. It does so
// even if the rename fails: over a network it may have been done all the same,
// which only a removal finds out. For that reason it is not tried again.
func (s *Store) write(f *folder, name fileName, data []byte) error {
	tmp := f.file(string(name) + tmpSuffix)
	err := s.writeTmp(f, tmp, data)
	if err == nil {
		f.files = append(f.files, name)
		err = os.Rename(tmp, f.file(string(name)))
	}
	if err != nil {
		os.Remove(tmp) // if that fails, too, a Sweep finds it stale
	}
	return err
}

// folderTries is how often writeTmp begins: the first time in a directory that
// may not be there yet, and again if a Sweep has removed it, as empty.
const folderTries = 10

func (s *Store) writeTmp(f *folder, tmp string, data []byte) (err error) {
	for range folderTries {
		if err = writeNew(tmp, data, s.opts.Sync); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.makeFolder(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// writeNew writes a file that is not there yet, so that it follows no symbolic
// link and meets no other writer, and reports what Close says: on NFS a full
// disk shows only then.
func writeNew(path string, data []byte, sync bool) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = makePrivate(file)
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil && sync {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
