package dirstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// A folder is a key's directory as one listing has found it. It is out of date
// when it is read: any file may be gone, which is no error, and others may have
// come, which the next call will see.
type folder struct {
	name  string // of the directory
	path  string
	files []fileName // the oldest first; "" is one that has been dealt with
	tmps  []string   // temporary files
}

// Errors of files that the store leaves alone, and goes on beside them. Callers
// see the first if a Put can go nowhere, as its key's directory is foreign, and
// the second if they list (see hides).
var (
	errForeign  = errors.New("not a file of the store")
	errTooLarge = errors.New("a file is larger than MaxValue allows")
)

// file is the path of a file in it.
func (f *folder) file(name string) string {
	return f.path + string(filepath.Separator) + name
}

// list reads a key's directory. One that is not there is fs.ErrNotExist, and
// something else in its place is errForeign. It asks for names alone: what kind
// of file each is would cost a call per file on some systems, and matters only
// for the few that are opened.
func (s *Store) list(name string) (*folder, error) {
	f := &folder{name: name, path: s.keyDir(name)}
	d, err := openDir(f.path)
	if err != nil {
		if isElse(f.path, err, fs.FileMode.IsDir) {
			s.counts.foreign.Add(1)
			err = errForeign
		}
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	d.Close() // nothing was written
	if err != nil {
		return nil, err
	}
	f.files = make([]fileName, 0, len(names)+1) // room for one more of a Put
	for _, n := range names {
		switch {
		case isFileName(n):
			f.files = append(f.files, fileName(n))
		case isTmpName(n):
			f.tmps = append(f.tmps, n)
		default:
			s.counts.foreign.Add(1)
		}
	}
	slices.Sort(f.files) // names sort by sequence
	return f, nil
}

// isElse reports whether a path could not be opened because it is something
// else. Systems have different errors for that.
func isElse(path string, err error, is func(fs.FileMode) bool) bool {
	if errors.Is(err, fs.ErrNotExist) {
		return false // the usual case needs no second look
	}
	info, err := os.Lstat(path)
	return err == nil && !is(info.Mode())
}

// load reads a file. What is opened is looked at, and not the path before it:
// in between somebody may have put something else there. The size is bounded
// before there is memory for it, as a foreign file may have any.
func (s *Store) load(f *folder, n fileName) (key string, e cache.Entry, err error) {
	path := f.file(string(n))
	file, err := openFile(path)
	if err != nil {
		if isElse(path, err, fs.FileMode.IsRegular) {
			err = errForeign // a symbolic link or a socket
		}
		return "", cache.Entry{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", cache.Entry{}, err
	case !info.Mode().IsRegular():
		return "", cache.Entry{}, errForeign
	case info.Size() > int64(headerLen)+maxNames+int64(s.opts.MaxValue):
		return "", cache.Entry{}, errTooLarge
	}
	// Files are never written to once they have their name, so the size holds.
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(file, b); err == io.EOF || err == io.ErrUnexpectedEOF {
		return "", cache.Entry{}, errDamaged // shorter than it was a moment ago
	} else if err != nil {
		return "", cache.Entry{}, err
	}
	return decode(f.name, n, b)
}

// skip counts a file that load could not read. It returns an error that is not
// the file's fault and will not be better with the next. All others hide only
// that file, whose entry may be good for a process with other options.
func (s *Store) skip(err error) error {
	switch {
	case err == errForeign:
		s.counts.foreign.Add(1)
	case err == errTooLarge:
		s.counts.tooLarge.Add(1)
	case err == errDamaged:
		s.counts.damaged.Add(1)
	case errors.Is(err, fs.ErrNotExist):
		s.counts.lost.Add(1)
	case exhausted(err):
		return err
	default:
		s.counts.unreadable.Add(1)
	}
	return nil
}

// drop removes a file that nobody is to have, and counts it as why. That
// another was faster is no error, and is his to count.
func (s *Store) drop(f *folder, n fileName, why *atomic.Uint64) error {
	switch err := remove(f.file(string(n))); {
	case err == nil:
		why.Add(1)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		s.counts.unreadable.Add(1)
		return err
	}
}

// dropReplaced removes the older files of the same ID as that at i. There are
// some if a Put died before it had removed them, or two were put at once. They
// go before the newest does, so that they are never the newest.
func (s *Store) dropReplaced(f *folder, i int) {
	id := f.files[i].id()
	for j, old := range f.files[:i] {
		if old != "" && old.id() == id {
			s.drop(f, old, &s.counts.replaced)
			f.files[j] = ""
		}
	}
}

// trim removes what is replaced, expired or above MaxPerKey, and leaves what
// remains in f. Files of the IDs in gone go without successor. It decides from
// the newest to the oldest, which is what replacing and the bound go by, and
// removes from the oldest to the newest: if it dies halfway, no file that was
// replaced has become the newest of its ID. One that cannot be removed stays in
// f, and is met again.
//
// It opens nothing. A damaged file counts as what its name says: whether it is
// good shows only when somebody is to have it.
func (s *Store) trim(f *folder, gone []idName, now moment) (removed int) {
	// The counter says why a file goes; nil: it stays.
	why := make([]*atomic.Uint64, len(f.files))
	seen := make(map[idName]bool, len(f.files))
	kept := 0
	for i, n := range slices.Backward(f.files) {
		id := n.id()
		switch {
		case seen[id] || slices.Contains(gone, id):
			why[i] = &s.counts.replaced
		case n.expired(now):
			why[i] = &s.counts.expired
		case kept == s.opts.MaxPerKey:
			why[i] = &s.counts.evicted
		default:
			kept++
		}
		seen[id] = true
	}
	remain := f.files[:0]
	for i, n := range f.files {
		if why[i] == nil || s.drop(f, n, why[i]) != nil {
			remain = append(remain, n)
		} else {
			removed++
		}
	}
	f.files = remain
	return removed
}

// dropStale removes temporary files whose writers must be dead. One that is
// far in the future was written by a clock that has gone back since. Most calls
// find none, and it costs them nothing.
func (s *Store) dropStale(f *folder, now time.Time) (removed int) {
	for _, tmp := range f.tmps {
		info, err := os.Lstat(f.file(tmp))
		if err != nil || now.Sub(info.ModTime()).Abs() < staleAfter {
			continue
		}
		if remove(f.file(tmp)) == nil {
			s.counts.stale.Add(1)
			removed++
		}
	}
	return removed
}
