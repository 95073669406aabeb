package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// Options bound a Store. Zero is a default; a negative number is an error of
// Open. Stores with different options may share a directory: each acts by its
// own.
type Options struct {
	// MaxPerKey is how many entries a key may have; 0: 64, as many as the
	// memory pool above keeps. Puts of one key that run at the same time may
	// exceed it until the next Put.
	MaxPerKey int

	// MaxEntries is how many entries there may be in all; 0: 65536, which is 64
	// for 1024 keys. It is enforced by counting, which takes 20 us per key,
	// once in MaxEntries/16 puts and not before there are enough keys to exceed
	// it. So each process that puts may exceed it by a sixteenth; processes
	// that put once and exit count at random, and exceed it by as much on
	// average.
	MaxEntries int

	// MaxValue is the size of a value in bytes above which Put refuses it; 0:
	// 128 KiB, room for a ticket of 16 KiB and two chains of post-quantum
	// certificates.
	MaxValue int

	// Sync makes puts, takes and deletes durable before they return, so that
	// at-most-once outlives a loss of power.
	Sync bool
}

const (
	defaultPerKey  = 64
	defaultEntries = 64 << 10
	defaultValue   = 128 << 10

	// A census comes once in MaxEntries/censusPart puts: its cost is spread
	// over them, and the bound is exceeded by no more than that part of it.
	censusPart = 16

	// staleAfter is the age of a temporary file from which its writer is taken
	// for dead. Writing takes microseconds; one that is still alive then, after
	// a stop or on a stalled network, sees its Put fail.
	staleAfter = 10 * time.Minute
)

// A Store keeps entries in a directory. Make one with Open. It holds no file
// open and needs no Close.
//
// It has no lock and no memory of what is there: each call lists one directory
// and decides on what it has seen, and where two decide alike the file system
// lets one of them remove the file. So goroutines are to each other what
// processes are.
type Store struct {
	dir  string // absolute, so that it outlives a change of directory
	opts Options
	sync func(dir string) error // nil without Options.Sync

	last        atomic.Uint64 // newest sequence that this store took from its clock
	untilCensus atomic.Int64  // puts; below 1 when it is due
	swept       sync.Once     // with the first Put
	counts      counts
}

var (
	_ cache.Store  = (*Store)(nil)
	_ cache.Lister = (*Store)(nil)
)

// Open opens the store in a directory, and makes the directory if there is
// none. It fails if the directory is a symbolic link, belongs to somebody else
// or can be written by others, and if it has no name: "." is the current one.
func Open(dir string, opts Options) (*Store, error) {
	if err := opts.fill(); err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	if dir == "" { // of a variable that is not set, say; filepath.Abs takes it for "."
		return nil, errors.New("dirstore: no directory is named")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	// A field rather than a question, so that tests can watch what is synced.
	s := &Store{dir: dir, opts: opts}
	if opts.Sync {
		s.sync = syncDir
	}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	// At random: programs that put once and exit would otherwise never count.
	s.untilCensus.Store(1 + rand.Int64N(s.censusEvery()))
	return s, nil
}

// fill sets the defaults. What is wrong is an error here and not of the first
// Put, of which a handshake would hear nothing.
func (o *Options) fill() error {
	for _, bound := range []struct {
		name     string
		value    *int
		fallback int
	}{
		{"MaxPerKey", &o.MaxPerKey, defaultPerKey},
		{"MaxEntries", &o.MaxEntries, defaultEntries},
		{"MaxValue", &o.MaxValue, defaultValue},
	} {
		if *bound.value < 0 {
			return fmt.Errorf("the bound %s is negative", bound.name)
		}
		if *bound.value == 0 {
			*bound.value = bound.fallback
		}
	}
	if o.Sync && !canSync {
		return errors.New("Options.Sync: this system cannot sync directories")
	}
	return nil
}

// prepare makes the directory and those above it if they are missing, and fails
// if it is not this user's alone. Two processes that open it at once both make
// it, and one finds it made. It is looked at by Lstat: of a symbolic link,
// whoever can change it decides where the entries go.
func (s *Store) prepare() error {
	// Those above are made with the umask: they are not the store's, and are
	// not looked at.
	info, err := os.Lstat(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(s.dir), 0o700); err != nil {
			return err
		}
		if err := s.mkdir(s.dir); err != nil {
			return err
		}
		info, err = os.Lstat(s.dir)
	}
	if err != nil {
		return err
	}
	return trusted(s.dir, info)
}

// mkdir makes a private directory whatever the umask, which Mkdir obeys and
// Chmod does not. One that is there already is left as it is. With Sync the
// directory above is synced, where the new one's name stands.
func (s *Store) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	if err == nil {
		err = s.syncDir(filepath.Dir(dir))
	}
	return err
}

// syncDir makes durable what has been added to a directory or removed from it,
// if that was asked for. A file's own Sync does not: its name is the
// directory's.
func (s *Store) syncDir(dir string) error {
	if s.sync == nil {
		return nil
	}
	return s.sync(dir)
}

// trusted fails for a directory that is not this user's alone.
func trusted(dir string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a symbolic link", dir)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return ownedAlone(dir, info)
}

// censusEvery is how many puts there are between two censuses.
func (s *Store) censusEvery() int64 { return max(1, int64(s.opts.MaxEntries)/censusPart) }

// sequence reserves n numbers and returns the first. They follow the clock, and
// each other when the clock does not move on. What other processes have used
// shows in the names (see writeAll).
func (s *Store) sequence(now time.Time, n int) uint64 {
	for {
		last := s.last.Load()
		first := max(uint64(max(now.UnixMicro(), 1)), last+1)
		if s.last.CompareAndSwap(last, first+uint64(n)-1) {
			return first
		}
	}
}

// keyDir is where a key's files are. There is nothing that filepath.Join would
// have to clean.
func (s *Store) keyDir(name string) string { return s.dir + string(filepath.Separator) + name }

// String names the directory.
func (s *Store) String() string { return fmt.Sprintf("dirstore.Store(%s)", s.dir) }

// fail says which call failed. ErrMiss comes through as it is.
func fail(call string, err error) error {
	if err == nil || err == cache.ErrMiss {
		return err
	}
	return fmt.Errorf("dirstore: %s: %w", call, err)
}
