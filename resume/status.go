package resume

import "fmt"

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

var statusNames = [...]string{"Unknown", "Pending", "Resumable", "Used", "Expired", "Failed", "Removed", "Freed"}

// String is the name of the constant.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return fmt.Sprintf("Status(%d)", int(s))
	}
	return statusNames[s]
}

// A verdict is a status with its reason. A session points to exactly one, and
// passes from one to the next by compare-and-swap: that is what single use
// hangs on. Verdicts are compared by address.
type verdict struct {
	status Status
	reason string
	leased bool // claimed by a handshake that has not ended; may come back
}

var (
	pending = &verdict{status: Pending, reason: "no-ticket"}
	live    = &verdict{status: Resumable}
	evicted = &verdict{status: Resumable, reason: "evicted"}

	leased        = &verdict{status: Used, reason: "leased", leased: true}
	leasedEvicted = &verdict{status: Used, reason: "leased", leased: true}
	// Sessions that are on their way to the store, there, and on the way back
	// to who holds one: nobody may take them from the pool.
	stowing        = &verdict{status: Resumable, leased: true}
	stowingEvicted = &verdict{status: Resumable, reason: "evicted", leased: true}
	stored         = &verdict{status: Resumable}
	reclaiming     = &verdict{status: Used, reason: "leased", leased: true}

	used = &verdict{status: Used, reason: "used"}

	overLifetime   = &verdict{status: Expired, reason: "lifetime"}
	overMaxAge     = &verdict{status: Expired, reason: "max-age"}
	overChainAge   = &verdict{status: Expired, reason: "chain-age"}
	overLeaf       = &verdict{status: Expired, reason: "leaf-expired"}
	overClientLeaf = &verdict{status: Expired, reason: "client-leaf-expired"}
	clockBack      = &verdict{status: Expired, reason: "clock"}

	tooLarge       = &verdict{status: Failed, reason: "ticket-size"}
	noMasterSecret = &verdict{status: Failed, reason: "no-extended-master-secret"}
	handshakeError = &verdict{status: Failed, reason: "handshake"}
	noTicket       = &verdict{status: Failed, reason: "no-ticket"}
	failedAlert    = &verdict{status: Failed, reason: "alert"}
	failedUnclean  = &verdict{status: Failed, reason: "unclean"}
	failedStore    = &verdict{status: Failed, reason: "store"}
	failedRefused  = &verdict{status: Failed, reason: "refused"}

	removed = &verdict{status: Removed, reason: "removed"}
	cleared = &verdict{status: Removed, reason: "cleared"}
	closed  = &verdict{status: Removed, reason: "closed"}
	// On the server nobody can use what a bound pushed out: only the pool
	// finds a session by its ticket.
	pushedOut = &verdict{status: Removed, reason: "evicted"}
)

// evicted is the verdict of a session that leaves the pool for want of room;
// nil if it has ended, or is in no pool.
func (v *verdict) evicted() *verdict {
	switch v {
	case live:
		return evicted
	case leased:
		return leasedEvicted
	case stowing:
		return stowingEvicted
	}
	return nil
}

// open reports whether the session has not ended for good.
func (v *verdict) open() bool {
	return v.leased || v.status == Resumable || v.status == Pending
}
