package cache

import (
	"fmt"
	"math"
	"time"
)

// Cause says why a value left the pool.
type Cause int

const (
	Expired Cause = iota + 1 // its time was over
	Evicted                  // a bound was reached
	Refused                  // a pick function answered Drop
	Removed                  // Remove or RemoveIf
)

// String is the name of the cause in lower case.
func (c Cause) String() string {
	switch c {
	case Expired:
		return "expired"
	case Evicted:
		return "evicted"
	case Refused:
		return "refused"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("Cause(%d)", int(c))
}

// Verdict is a pick function's answer about one value.
type Verdict int

const (
	Skip  Verdict = iota // leave it and look at the next older one
	Take                 // take it out and stop
	Share                // leave it in, return it and stop
	Drop                 // take it out, tell Dropped, and look further
)

// An Item is a value and what the pool must know of it. An Item that Take or
// TakeFrom took out may be put back under the same key and, by its Place,
// regains its old place in the order of the key and of its group; as long as it
// is out, it is not in the pool in any way.
type Item[V any] struct {
	Value   V
	Group   string    // a subdivision of the key; empty is a group like any other
	Size    int64     // bytes, from 0 to MaxSize; counted against Options.MaxBytes
	Expires time.Time // zero: never; by the wall clock, to the end of what UnixNano counts

	Place uint32 // in the order of the key, given by the first Put; zero: none yet
}

// MaxSize is the largest Item.Size, in bytes. Put drops a larger item.
const MaxSize = math.MaxUint32

// String shows an item's size and expiry, and never its value.
func (i Item[V]) String() string {
	expires := "never expires"
	if !i.Expires.IsZero() {
		expires = "expires " + i.Expires.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("cache.Item(%d bytes, %s)", i.Size, expires)
}

// Format writes String for every verb.
func (i Item[V]) Format(f fmt.State, _ rune) { fmt.Fprint(f, i.String()) }
