package cachetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// faults are the ways in which a memory can be wrong.
type faults struct {
	every           int // of how many takes one does not remove; 0: none
	extra           int // entries above max
	looksThenTakes  bool
	oldestFirst     bool
	reverses        bool // the entries of one Put
	immortal        bool
	doubles         bool // an ID
	keepsPlace      bool // of what is replaced
	keepsOld        bool // and drops what should replace it
	deletesAll      bool // says true whatever is there
	deletesSilently bool // never says true
	deletesLater    bool // looks, and deletes later
	deletesExpired  bool
	dropsNewest     bool
	hidesMiss       bool
	takesNone       bool // takes one when asked for none
	ignoresContext  bool
	losesOnCancel   bool
	clearsNamed     bool // forgets the key without a name
	shares          bool // values with the caller
	listTakes       bool
	listsExpired    bool
	listsOn         bool // goes on when told to stop
	mangle          func(key, id string) (string, string)
	rounds          func(time.Time) time.Time

	takes int
}

func (f *faults) twice() bool {
	f.takes++
	return f.every > 0 && f.takes%f.every == 0
}

func (f *faults) key(key string) string {
	if f.mangle != nil {
		key, _ = f.mangle(key, "")
	}
	return key
}

func (f *faults) id(id string) string {
	if f.mangle != nil {
		_, id = f.mangle("", id)
	}
	return id
}

func (f *faults) round(t time.Time) time.Time {
	switch {
	case f.rounds != nil:
		return f.rounds(t)
	case t.IsZero():
		return t
	}
	return time.UnixMilli(t.UnixMilli())
}

// keysBy breaks keys, idsBy IDs.
func keysBy(f func(string) string) faults {
	return faults{mangle: func(key, id string) (string, string) { return f(key), id }}
}

func idsBy(f func(string) string) faults {
	return faults{mangle: func(key, id string) (string, string) { return key, f(id) }}
}

func cut(n int) func(string) string {
	return func(s string) string { return s[:min(n, len(s))] }
}

func cutAtNUL(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

func validUTF8(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// A recorder is a testing.TB that only takes notes.
type recorder struct {
	testing.TB
	mu      sync.Mutex
	failed  bool
	skipped bool
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(string, ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
func (r *recorder) Skip(...any) {
	r.skipped = true
	runtime.Goexit()
}

// notices runs a law against a store and reports whether it failed.
func notices(t *testing.T, name string, newStore func() cache.Store, reopen func(cache.Store) cache.Store) bool {
	i := slices.IndexFunc(laws, func(l law) bool { return l.name == name })
	require.GreaterOrEqual(t, i, 0, name)
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { r.failed = recover() != nil || r.failed }()
		laws[i].holds(&check{TB: r, newStore: newStore, reopen: reopen, maxPerKey: 40})
	}()
	<-done
	require.False(t, r.skipped, "%s was not tested", name)
	return r.failed
}

func memories(f faults) func() cache.Store {
	return func() cache.Store { return newMemory(40, f) }
}

// reopenMemory opens the same entries once more.
func reopenMemory(s cache.Store) cache.Store {
	m := *s.(*memory)
	return &m
}

// forget opens nothing, bringBack a copy: what one takes the other has too.
func forget(cache.Store) cache.Store { return newMemory(0, faults{}) }

func bringBack(s cache.Store) cache.Store {
	m := newMemory(0, faults{})
	for key, list := range s.(*memory).keys {
		m.keys[key] = slices.Clone(list)
	}
	return m
}

// joining runs key and ID together, and takes an empty value for nothing.
type joining struct{ *memory }

func (j joining) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	for _, e := range entries {
		if e.ID = key + e.ID; len(e.Value) == 0 {
			e.Value = []byte("nil")
		}
		if err := j.memory.Put(ctx, "", e); err != nil {
			return err
		}
	}
	return nil
}

func (j joining) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	return j.memory.Take(ctx, "", max)
}

func (j joining) Delete(ctx context.Context, key, id string) (bool, error) {
	return j.memory.Delete(ctx, "", key+id)
}

func TestStoreThatIsRightPasses(t *testing.T) {
	TestStore(t, func(*testing.T) cache.Store { return newMemory(0, faults{}) })
	Run(t, Options{
		New:       func(*testing.T) cache.Store { return newMemory(32, faults{}) },
		Reopen:    func(_ *testing.T, s cache.Store) cache.Store { return reopenMemory(s) },
		MaxPerKey: 32,
	})
}

// wrong are stores with one fault each and laws that must notice it.
var wrong = []struct {
	fault string
	store func() cache.Store
	laws  []string
}{
	{"hands out every fifth twice", memories(faults{every: 5}), []string{"EachEntryIsTakenOnce", "LastPutComesFirst",
		"TakeReturnsAtMostMax", "PutsAmongTakesLoseNothing"}},
	{"never removes", memories(faults{every: 1}), []string{"TakeReturnsWhatWasPut", "TakenIsGone", "EachEntryIsTakenOnce",
		"ReplacedAmongTakesComesOnce"}},
	{"looks, then takes", memories(faults{looksThenTakes: true}), []string{"EachEntryIsTakenOnce",
		"ReopenedSharesAtMostOnce"}},
	{"has the oldest first", memories(faults{oldestFirst: true}), []string{"LastPutComesFirst",
		"LastOfOnePutComesFirst", "TakeReturnsAtMostMax"}},
	{"has the first of a Put first", memories(faults{reverses: true}), []string{"LastOfOnePutComesFirst"}},
	{"gives more than max", memories(faults{extra: 1}), []string{"TakeReturnsAtMostMax"}},
	{"takes one for max 0", memories(faults{takesNone: true}), []string{"MaxBelowOneIsAnError"}},
	{"misses without an error", memories(faults{hidesMiss: true}), []string{"NothingIsAMiss", "PutOfNothingIsNothing"}},
	{"returns the expired", memories(faults{immortal: true}), []string{"ExpiredIsNotThere", "ExpiryComesWhileStored",
		"ExpiredHidesNothing", "PutOfExpiredReplaces"}},
	{"deletes the expired", memories(faults{deletesExpired: true}), []string{"ExpiredIsNotThere", "ExpiryComesWhileStored"}},
	{"has an ID twice", memories(faults{doubles: true}), []string{"PutReplacesTheID", "PutOfExpiredReplaces"}},
	{"replaces in place", memories(faults{keepsPlace: true}), []string{"PutReplacesTheID", "MaxPerKeyDropsTheOldest"}},
	{"never replaces", memories(faults{keepsOld: true}), []string{"PutReplacesTheID"}},
	{"says true to every Delete", memories(faults{deletesAll: true}), []string{"DeleteIsTrueForWhatIsThere",
		"EachEntryIsDeletedOnce", "EachEntryIsTakenOrDeleted", "NothingIsAMiss"}},
	{"says true to no Delete", memories(faults{deletesSilently: true}), []string{"DeleteIsTrueForWhatIsThere"}},
	{"looks, then deletes", memories(faults{deletesLater: true}), []string{"EachEntryIsDeletedOnce"}},
	{"drops the newest", memories(faults{dropsNewest: true}), []string{"MaxPerKeyDropsTheOldest"}},
	{"ignores the context", memories(faults{ignoresContext: true}), []string{"DoneContextChangesNothing", "ListStopsWhenTold"}},
	{"loses when cancelled", memories(faults{losesOnCancel: true}), []string{"DoneContextChangesNothing"}},
	{"clears in part", memories(faults{clearsNamed: true}), []string{"ClearRemovesEverything"}},
	{"shares values", memories(faults{shares: true}), []string{"ValuesAreNotShared"}},
	{"counts whole seconds", memories(faults{rounds: func(t time.Time) time.Time { return t.Truncate(time.Second) }}),
		[]string{"ExpiresIsKeptToTheMillisecond"}},
	{"rounds up", memories(faults{rounds: func(t time.Time) time.Time { return t.Round(time.Millisecond) }}),
		[]string{"ExpiresIsKeptToTheMillisecond"}},
	{"takes never for 1970", memories(faults{rounds: func(t time.Time) time.Time { return time.UnixMilli(max(0, t.UnixMilli())) }}),
		[]string{"TakeReturnsWhatWasPut"}},
	{"has keys in lower case", memories(keysBy(strings.ToLower)), []string{"KeysOfAnyBytesStayApart", "ListShowsWhatIsThere"}},
	{"cuts keys at NUL", memories(keysBy(cutAtNUL)), []string{"KeysOfAnyBytesStayApart"}},
	{"cuts keys at 4000", memories(keysBy(cut(4000))), []string{"KeysOfAnyBytesStayApart"}},
	{"cuts keys at 255", memories(keysBy(cut(255))), []string{"KeysOfAnyBytesStayApart"}},
	{"has paths for keys", memories(keysBy(path.Clean)), []string{"KeysOfAnyBytesStayApart"}},
	{"has UTF-8 for keys", memories(keysBy(validUTF8)), []string{"KeysOfAnyBytesStayApart"}},
	{"trims keys", memories(keysBy(strings.TrimSpace)), []string{"KeysOfAnyBytesStayApart"}},
	{"has one key", memories(keysBy(func(string) string { return "" })), []string{"KeysOfAnyBytesStayApart", "PutReplacesTheID"}},
	{"has IDs in upper case", memories(idsBy(strings.ToUpper)), []string{"IDsOfAnyBytesStayApart"}},
	{"cuts IDs at NUL", memories(idsBy(cutAtNUL)), []string{"IDsOfAnyBytesStayApart"}},
	{"cuts IDs at 255", memories(idsBy(cut(255))), []string{"IDsOfAnyBytesStayApart"}},
	{"lists by taking", memories(faults{listTakes: true}), []string{"ListTakesNothing"}},
	{"lists the expired", memories(faults{listsExpired: true}), []string{"ListShowsWhatIsThere"}},
	{"lists on", memories(faults{listsOn: true}), []string{"ListStopsWhenTold"}},
	{"joins key and ID", func() cache.Store { return joining{newMemory(0, faults{})} },
		[]string{"KeyAndIDDoNotRunTogether", "ValuesOfAnyBytesComeBack"}},
}

// TestEachLawNoticesItsFault is the proof that the suite can fail: every fault
// is noticed, and every law notices one.
func TestEachLawNoticesItsFault(t *testing.T) {
	noticed := make(map[string]bool)
	notice := func(fault, law string, store func() cache.Store, reopen func(cache.Store) cache.Store) {
		require.True(t, notices(t, law, store, reopen), "%s passes a store that %s", law, fault)
		noticed[law] = true
	}
	for _, w := range wrong {
		for _, law := range w.laws {
			notice(w.fault, law, w.store, reopenMemory)
		}
	}
	const reopened = "ReopenedKeepsEntriesAndOrder"
	notice("forgets", reopened, memories(faults{}), forget)
	notice("brings back", reopened, memories(faults{}), bringBack)
	for _, l := range laws {
		require.True(t, noticed[l.name], "no store breaks %s", l.name)
		require.False(t, notices(t, l.name, memories(faults{}), reopenMemory), "a right store breaks %s", l.name)
	}
}

const brokenEnv = "CACHETEST_BROKEN"

// TestStoreFailsAsAWhole runs the suite as users do, in a process of its own
// because it is to fail there.
func TestStoreFailsAsAWhole(t *testing.T) {
	if os.Getenv(brokenEnv) != "" {
		TestStore(t, func(*testing.T) cache.Store { return newMemory(0, faults{oldestFirst: true}) })
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestStoreFailsAsAWhole$", "-test.v")
	cmd.Env = append(os.Environ(), brokenEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	for name, result := range map[string]string{
		"LastPutComesFirst": "FAIL", "TakenIsGone": "FAIL", "EachEntryIsTakenOnce": "PASS",
		"ReopenedKeepsEntriesAndOrder": "SKIP", "MaxPerKeyDropsTheOldest": "SKIP",
	} {
		require.Contains(t, string(out), fmt.Sprintf("--- %s: TestStoreFailsAsAWhole/%s ", result, name))
	}
}
