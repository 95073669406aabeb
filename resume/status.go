package resume

import (
	"fmt"
	"sync/atomic"
)

// Status says whether a session can be resumed.
type Status int

const (
	Unknown   Status = iota // no session
	Pending                 // a connection that got no ticket yet (TLS 1.3)
	Resumable               // may be used, by whoever claims it first
	Used                    // claimed, whether or not the server took it
	Expired                 // its time is over, or the clock says not now
	Failed                  // its connection or handshake failed, or it cannot be used
	Removed                 // by Remove or Clear, or on a server by a bound
	Freed                   // nothing refers to it any more
)

// statusNames are in the order of the constants.
var statusNames = [...]string{"Unknown", "Pending", "Resumable", "Used", "Expired", "Failed", "Removed", "Freed"}

// String is the name of the constant.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return fmt.Sprintf("Status(%d)", int(s))
	}
	return statusNames[s]
}

// A verdict is a status with its reason. A session has exactly one, and passes
// from one to the next by compare-and-swap: that is what single use hangs on.
//
//	pending ---------------------------------------> an end
//	live <-> leased ----------------------> used, or another end
//	live <-> stowing -> stored <-> reclaiming -> leased
//
// Each of live, leased and stowing has a twin for a session that a bound has
// pushed out of the pool meanwhile. An end may follow on any of them, as Remove
// or Clear come when they come, and nothing follows on an end: whoever sees one
// may drop the secret.
//
// What is missing in the picture is missing on purpose. A session that is
// leased is never stowed, nor the other way round: each of them is claimed from
// live. A stored one is leased by way of reclaiming only, since the store has
// to say that it is ours; and what a fetch brings back is a session of its own,
// from live.
type verdict uint8

const (
	none verdict = iota // no verdict

	pending
	live
	evicted       // out of the pool for want of room, and its holders' to use
	leased        // claimed by a handshake that has not ended; may come back
	leasedEvicted // the same, pushed out of the pool

	// Sessions that are on their way to the store, there, and on the way back
	// to who holds one: nobody may take them from the pool.
	stowing
	stowingEvicted
	stored
	reclaiming

	used

	// Which limit of time it was. clockBack says "not now": a pooled session
	// reads so, without an end, until the clock has caught up. The others are
	// read off the clock as well, before the pool makes them an end.
	overLifetime
	overMaxAge
	overChainAge
	overLeaf
	overClientLeaf
	clockBack

	tooLarge
	noMasterSecret // TLS 1.2 without extended master secret (rule N21)
	handshakeError
	noTicket
	failedAlert   // a fatal alert on its connection (rule N28)
	failedUnclean // its connection ended without close_notify
	failedStore   // whether the store has it is not known
	failedRefused // the server took no notice of one as young (rule N16)

	removed
	cleared
	closed    // the cache is
	pushedOut // by a bound, on the server, where only the pool finds a session by its ticket
)

// verdicts say what the API shows of each. Reasons are stable words: programs
// match them. One that is being written reads Resumable, since whoever holds it
// can have it, after a moment's wait; one that is being asked back for somebody
// reads as leased to him.
var verdicts = [...]struct {
	status Status
	reason string
}{
	none:    {},
	pending: {status: Pending, reason: "no-ticket"},
	live:    {status: Resumable},
	evicted: {status: Resumable, reason: "evicted"},

	leased:         {status: Used, reason: "leased"},
	leasedEvicted:  {status: Used, reason: "leased"},
	stowing:        {status: Resumable},
	stowingEvicted: {status: Resumable, reason: "evicted"},
	stored:         {status: Resumable},
	reclaiming:     {status: Used, reason: "leased"},

	used: {status: Used, reason: "used"},

	overLifetime:   {status: Expired, reason: "lifetime"},
	overMaxAge:     {status: Expired, reason: "max-age"},
	overChainAge:   {status: Expired, reason: "chain-age"},
	overLeaf:       {status: Expired, reason: "leaf-expired"},
	overClientLeaf: {status: Expired, reason: "client-leaf-expired"},
	clockBack:      {status: Expired, reason: "clock"},

	tooLarge:       {status: Failed, reason: "ticket-size"},
	noMasterSecret: {status: Failed, reason: "no-extended-master-secret"},
	handshakeError: {status: Failed, reason: "handshake"},
	noTicket:       {status: Failed, reason: "no-ticket"},
	failedAlert:    {status: Failed, reason: "alert"},
	failedUnclean:  {status: Failed, reason: "unclean"},
	failedStore:    {status: Failed, reason: "store"},
	failedRefused:  {status: Failed, reason: "refused"},

	removed:   {status: Removed, reason: "removed"},
	cleared:   {status: Removed, reason: "cleared"},
	closed:    {status: Removed, reason: "closed"},
	pushedOut: {status: Removed, reason: "evicted"},
}

// status and reason are what the API shows.
func (v verdict) status() Status { return verdicts[v].status }
func (v verdict) reason() string { return verdicts[v].reason }

// Sets of verdicts, a bit for each: every connection asks several times, and a
// table would have to be in the processor's cache for it.
const (
	leasedVerdicts = 1<<leased | 1<<leasedEvicted | 1<<stowing | 1<<stowingEvicted | 1<<reclaiming
	openVerdicts   = 1<<pending | 1<<live | 1<<evicted | 1<<stored | leasedVerdicts
)

// isLeased reports whether somebody has claimed the session and may give it
// back: a handshake, the vault's writer, or who asks the store for it.
func (v verdict) isLeased() bool { return leasedVerdicts>>v&1 != 0 }

// open reports whether the session has not ended for good. An end
// lets go of the secret, and so does the last release.
func (v verdict) open() bool { return openVerdicts>>v&1 != 0 }

// An atomicVerdict is a verdict that several goroutines pass on. The zero value
// is none. Store is for a session that nobody else knows yet: anybody else's
// would undo a claim or an end.
type atomicVerdict struct{ v atomic.Uint32 }

func (a *atomicVerdict) Load() verdict   { return verdict(a.v.Load()) }
func (a *atomicVerdict) Store(v verdict) { a.v.Store(uint32(v)) }
func (a *atomicVerdict) CompareAndSwap(old, new verdict) bool {
	return a.v.CompareAndSwap(uint32(old), uint32(new))
}

// evicted is the verdict of a session that leaves the pool for want of room;
// none if it has ended, or is in no pool. It can still be used: a bound takes
// nothing from whoever holds a session.
func (v verdict) evicted() verdict {
	switch v {
	case live:
		return evicted
	case leased:
		return leasedEvicted
	case stowing:
		return stowingEvicted
	}
	return none
}
