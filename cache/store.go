package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"
)

// A Store is memory outside the process: a directory, a server. It holds
// entries under keys and hands each out at most once. What an entry's value
// means is none of its business; whoever cares for secrecy seals values before
// Put. cachetest.TestStore is this contract as a test.
//
// At most once. A store removes an entry before it hands it out. Among all
// callers of Take and Delete, in all goroutines, processes and machines that
// share the store, an entry goes to one: either a single Take returns it or a
// single Delete says true. If a process dies, at whatever point, an entry may
// be lost with it; none is handed out twice. A store says what it promises
// when the machine under it dies.
//
// Order. Within a key the last put comes first; within one Put the last of its
// entries is the newest. Puts that run at the same time are ordered anyhow.
//
// Identity. A key has at most one entry of an ID. Putting an ID that is there
// replaces its entry, as if it had been deleted before: the new one is the
// newest. The same ID under another key is another entry.
//
// Time. An entry whose Expires is not after now counts as not there, for every
// method: it is never returned or listed, and Delete of it is false. To put
// such an entry is no error; it only removes the one it replaces. Expires is
// kept to the millisecond, rounded down; zero means never. Now is the store's
// clock.
//
// Bounds. A store may be bounded; it then drops the oldest first, and says
// what its bounds are. It keeps at least 32 entries under a key unless it was
// told otherwise. A key, ID or value that is larger than the store allows is an
// error of Put and is never cut; any store allows 4 KiB of key and ID and 64
// KiB of value.
//
// Bytes. Keys and IDs are any strings and values any bytes: empty, with NUL,
// not UTF-8. What differs in one byte is different. A nil value comes back
// empty. Put keeps no reference to a value, and what Take returns is the
// caller's.
//
// Contexts. A context that is done when a method is called makes it return the
// context's error and change nothing. One that ends while the method runs is a
// request to return soon. Take then returns what it has already removed, with a
// nil error, if it can still get hold of it; what it cannot is lost.
//
// Errors. After an error of Put any of its entries may be there, or may have
// been handed out already, and what they replace may be gone: whoever put them
// must not use them in another way. An error that wraps ErrNotStored says that
// none of them was there, is, or will be. Take returns entries or an error,
// never both. Errors other than ErrMiss mean that the store could not do its
// work.
//
// All methods are safe for concurrent use. A method that panics ends the
// program, as the cache calls it in goroutines of its own.
type Store interface {
	// Put adds entries under the key, the last of them as the newest. Without
	// entries it does nothing.
	Put(ctx context.Context, key string, entries ...Entry) error

	// Take removes up to max entries of the key and returns them, the newest
	// first: at least one, or ErrMiss when there is none. It may return fewer
	// than there are while others take too. A max below 1 is an error.
	Take(ctx context.Context, key string, max int) ([]Entry, error)

	// Delete removes an entry and reports whether it was there: of all who
	// delete or take it at the same time, one has it.
	Delete(ctx context.Context, key, id string) (bool, error)

	// Clear removes everything in the store's namespace, whoever put it. What
	// is put while it runs may stay.
	Clear(ctx context.Context) error
}

// A Lister is a Store that can say what is in it.
type Lister interface {
	// List ranges over all entries that are there, without their values,
	// taking none, in any order. An error comes last, with a zero Listed.
	// What is put or taken during the walk may be seen or not; everything else
	// is seen once.
	List(ctx context.Context) iter.Seq2[Listed, error]
}

// An Entry is what a Store keeps under a key.
type Entry struct {
	ID      string    // unique within its key
	Value   []byte    // sealed by who puts it
	Expires time.Time // zero: never
}

// Listed is what a Lister says of an entry.
type Listed struct {
	Key, ID string
	Size    int       // bytes of the value
	Expires time.Time // zero: never
}

// ErrNotStored is wrapped by errors of Put after which it is certain that none
// of the entries was, is or will be in the store.
var ErrNotStored = errors.New("cache: not stored")

// ErrMiss is what Take returns when the key has no entry.
var ErrMiss = errors.New("cache: miss")

// Expired reports whether the entry's time is over.
func (e Entry) Expired(now time.Time) bool {
	return !e.Expires.IsZero() && e.Expires.UnixMilli() <= now.UnixMilli()
}

// String shows an entry's ID, size and expiry, and never its value.
func (e Entry) String() string {
	expires := "never expires"
	if !e.Expires.IsZero() {
		expires = "expires " + e.Expires.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("cache.Entry(%q, %d bytes, %s)", e.ID, len(e.Value), expires)
}

// Format writes String for every verb, so that no verb reaches the value.
func (e Entry) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.String()) }

// LogValue is the same for log/slog.
func (e Entry) LogValue() slog.Value { return slog.StringValue(e.String()) }
