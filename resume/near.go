package resume

import (
	"math"
	"sync"
	"time"
)

// A near tier keeps some sessions of each busy server in the process, in front
// of a store that is far away: what a connection brings stays here up to that
// number, the rest goes to the store, and when few are left the store is asked
// for a batch, behind the handshakes. A session is still in one place. What is
// here when a process dies is lost, and never offered by another.
//
// A server is busy for nearIdle after a handshake that wanted a session of it.
// Then all of its sessions go to the store, where others find them
// (docs/decisions/0014).
//
// There is no second pool: near only says how many sessions the vault leaves in
// the one there is. Its lock is taken under no other and none under it.
type near struct {
	size int // sessions of a server; 0: there is no near tier. Set by newCore

	mu      sync.Mutex // guards the rest
	busy    map[serverKey]*nearServer
	waiting bool // spill is going to run: one timer for all servers
}

// A nearServer is a server that handshakes are being made with.
type nearServer struct {
	wanted    time.Time // last
	refilling bool      // the store is being asked, once at a time
	empty     time.Time // when the store last had none
}

// wanted notes that a handshake looked for a session, and has the store asked
// for more if half of those at hand are gone: the other half is there while it
// answers. A store that had none is left alone for nearPause, or a server that
// sends few tickets would have it asked in vain at each handshake. A TLS 1.2
// session needs no company.
func (v *vault) wanted(key serverKey, seen *view, now time.Time) {
	if v.near.size == 0 || !v.near.begin(v, key, now) {
		return
	}
	if v.core.usable(key) > v.near.size/2 || v.core.shares(key) || v.takes.isOpen(now) {
		v.near.end(key, time.Time{})
		return
	}
	go func() {
		var empty time.Time
		if result := <-v.share(key, seen); result.Val.(int) == 0 {
			empty = time.Now()
		}
		v.near.end(key, empty)
	}()
}

// begin notes a handshake, and reports whether to think about a refill.
func (n *near) begin(v *vault, key serverKey, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy == nil {
		n.busy = make(map[serverKey]*nearServer)
	}
	server := n.busy[key]
	if server == nil {
		server = new(nearServer)
		n.busy[key] = server
	}
	server.wanted = now
	if !n.waiting {
		n.waiting = true
		time.AfterFunc(nearIdle, v.spill)
	}
	if server.refilling || now.Sub(server.empty) < nearPause {
		return false
	}
	server.refilling = true
	return true
}

// end is the other end of begin. The store had none if empty is set.
func (n *near) end(key serverKey, empty time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if server := n.busy[key]; server != nil {
		server.refilling = false
		server.empty = empty
	}
}

// isBusy reports whether sessions of a server stay here.
func (n *near) isBusy(key serverKey) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.busy[key] != nil
}

// idle forgets the servers that are busy no more and returns them. One whose
// refill is under way stays for another turn, so that what it brings does not
// come too late to be spilled.
func (n *near) idle(v *vault, now time.Time) map[serverKey]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	idle := make(map[serverKey]bool)
	for key, server := range n.busy {
		if now.Sub(server.wanted) >= nearIdle && !server.refilling {
			idle[key] = true
			delete(n.busy, key)
		}
	}
	if n.waiting = len(n.busy) > 0; n.waiting {
		time.AfterFunc(nearIdle, v.spill)
	}
	return idle
}

// holdsBack reports whether a session that has come stays here. It is in the
// pool already and counts itself. If two come at once at the bound, each counts
// both, and both go: too many are stored rather than too many held back.
//
// TLS 1.2 sessions are in memory anyway, and stored for the others.
func (v *vault) holdsBack(s *session) bool {
	return v.near.size > 0 && !s.reusable() && v.near.isBusy(s.key) && v.core.usable(s.key) <= v.near.size
}

// spill has the sessions of idle servers written.
func (v *vault) spill() {
	if v.core.closed.Load() {
		return
	}
	idle := v.near.idle(v, time.Now())
	jobs := v.unwritten(func(key serverKey) bool { return idle[key] })
	if !v.enqueue(math.MaxInt, jobs...) {
		unqueue(jobs)
	}
}
