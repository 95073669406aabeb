// Package cachetest is the contract of [cache.Store] as a test, for whoever
// writes a store. It needs nothing but a way to make one:
//
//	func TestStore(t *testing.T) {
//		cachetest.TestStore(t, func(t *testing.T) cache.Store {
//			return newStore(t)
//		})
//	}
//
// [Run] takes options and also tests what a store keeps when it is opened
// again, and its bound. A store that is a [cache.Lister] is tested as one. The
// suite keeps at most 32 entries under a key, injects no clock and waits some
// milliseconds where something must expire.
//
// Each law is a subtest named by what it says, so that the list of those that
// fail reads as what the store does wrong. The suite itself is tested on stores
// that are each wrong in one way. It cannot make a store fail: what the
// contract says of errors, of contexts that end during a call and of processes
// that die is the store's own to test.
package cachetest

import (
	"testing"

	"github.com/tlsresume/tlsresume/cache"
)

// TestStore tests a store against the contract of cache.Store. newStore makes
// an empty store that shares nothing with those it made before; what it must
// undo it registers with t.Cleanup.
func TestStore(t *testing.T, newStore func(t *testing.T) cache.Store) {
	t.Helper()
	Run(t, Options{New: newStore})
}

// Options say how to test a store.
type Options struct {
	// New is what TestStore calls newStore. It is called once for each law, in
	// the law's own subtest, whose Cleanup ends the store.
	New func(t *testing.T) cache.Store

	// Reopen returns another store on what s has stored, as another process
	// would open it, while s stays in use: it must not close s, nor share
	// memory with it that two processes would not share. Nil: not tested.
	Reopen func(t *testing.T, s cache.Store) cache.Store

	// MaxPerKey is how many entries the stores of New keep under a key, above
	// which the oldest goes. It is tested to be exact where one goroutine puts.
	// Below 32 the other laws would fail. 0: not tested.
	MaxPerKey int
}

// Run is TestStore with options. Laws whose option is not set are skipped, and
// say so, rather than pass.
func Run(t *testing.T, opts Options) {
	t.Helper()
	for _, law := range laws {
		t.Run(law.name, func(t *testing.T) {
			c := &check{TB: t, maxPerKey: opts.MaxPerKey}
			// With the subtest's t: what New registers ends with the law.
			c.newStore = func() cache.Store { return opts.New(t) }
			if opts.Reopen != nil {
				c.reopen = func(s cache.Store) cache.Store { return opts.Reopen(t, s) }
			}
			law.holds(c)
		})
	}
}

// A law is one sentence of the contract, which its comment quotes with the name
// of the paragraph or method of cache.Store where it stands. Each makes a store
// of its own, so that none depends on what another has left, or on the order in
// which they run.
type law struct {
	name  string
	holds func(*check)
}

// laws are all of them, from what every store does to what some do.
var laws = []law{
	// One caller at a time (order.go).
	{"NothingIsAMiss", nothingIsAMiss},
	{"TakeReturnsWhatWasPut", takeReturnsWhatWasPut},
	{"LastPutComesFirst", lastPutComesFirst},
	{"LastOfOnePutComesFirst", lastOfOnePutComesFirst},
	{"TakeReturnsAtMostMax", takeReturnsAtMostMax},
	{"MaxBelowOneIsAnError", maxBelowOneIsAnError},
	{"TakenIsGone", takenIsGone},
	{"PutOfNothingIsNothing", putOfNothingIsNothing},
	{"PutReplacesTheID", putReplacesTheID},
	{"DeleteIsTrueForWhatIsThere", deleteIsTrueForWhatIsThere},
	{"ClearRemovesEverything", clearRemovesEverything},
	{"ValuesAreNotShared", valuesAreNotShared},
	{"DoneContextChangesNothing", doneContextChangesNothing},
	{"MaxPerKeyDropsTheOldest", maxPerKeyDropsTheOldest},

	// Time (expiry.go).
	{"ExpiredIsNotThere", expiredIsNotThere},
	{"ExpiryComesWhileStored", expiryComesWhileStored},
	{"ExpiredHidesNothing", expiredHidesNothing},
	{"PutOfExpiredReplaces", putOfExpiredReplaces},
	{"ExpiresIsKeptToTheMillisecond", expiresIsKeptToTheMillisecond},

	// Bytes (bytes.go).
	{"KeysOfAnyBytesStayApart", keysOfAnyBytesStayApart},
	{"IDsOfAnyBytesStayApart", idsOfAnyBytesStayApart},
	{"KeyAndIDDoNotRunTogether", keyAndIDDoNotRunTogether},
	{"ValuesOfAnyBytesComeBack", valuesOfAnyBytesComeBack},

	// At most once (concurrent.go).
	{"EachEntryIsTakenOnce", eachEntryIsTakenOnce},
	{"EachEntryIsDeletedOnce", eachEntryIsDeletedOnce},
	{"EachEntryIsTakenOrDeleted", eachEntryIsTakenOrDeleted},
	{"PutsAmongTakesLoseNothing", putsAmongTakesLoseNothing},
	{"ReplacedAmongTakesComesOnce", replacedAmongTakesComesOnce},

	// What not every store has (optional.go).
	{"ReopenedKeepsEntriesAndOrder", reopenedKeepsEntriesAndOrder},
	{"ReopenedSharesAtMostOnce", reopenedSharesAtMostOnce},

	{"ListShowsWhatIsThere", listShowsWhatIsThere},
	{"ListTakesNothing", listTakesNothing},
	{"ListStopsWhenTold", listStopsWhenTold},
}
