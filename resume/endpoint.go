package resume

import (
	"net"
	"sync/atomic"
	"time"
)

// endpointOf is the address of the server that a connection leads to, with its
// port. It is empty when the connection does not know it. A wrapper counts as
// what it wraps, so long as it says whose address it has.
func endpointOf(raw net.Conn) string {
	switch addr := raw.RemoteAddr().(type) {
	case nil:
		return ""
	case *net.TCPAddr:
		return endpoints.text(addr)
	default:
		return addr.String()
	}
}

// distance is what it takes to connect to where a connection leads: what it
// took this time, or earlier if that was less. In between the client itself may
// have been busy.
func distance(raw net.Conn, took time.Duration) time.Duration {
	if addr, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		return endpoints.nearest(addr, took)
	}
	return took
}

// endpoints remembers how addresses are written, and how far away they are: a
// client's connections lead to the same few. To write an address takes
// allocations, and each session would keep a string of its own.
//
// It is one for the process, as addresses are, and holds nothing that ought to
// be walled off: no name and no session.
var endpoints endpointMemo

// An endpointMemo is direct-mapped, so that its size is fixed. Two addresses of
// one slot push each other out, which costs what there would be to pay without
// it. Slots are only ever replaced whole, so nobody locks to read.
type endpointMemo [64]atomic.Pointer[knownEndpoint]

// A knownEndpoint does not change, except for how near it is: of two who
// connect at once, the later one's time may stand though it was the longer.
type knownEndpoint struct {
	ip      string // the bytes of net.TCPAddr.IP
	port    int
	text    string
	nearest atomic.Pointer[connecting]
}

// A connecting is the least time it took to connect, and when that was.
type connecting struct {
	took time.Duration
	at   time.Time
}

// text is addr.String().
func (m *endpointMemo) text(addr *net.TCPAddr) string {
	if known := m.of(addr); known != nil {
		return known.text
	}
	return addr.String()
}

// nearest is the least time it took to connect there within nearestTime, this
// one included. A route that has become longer is believed after that.
func (m *endpointMemo) nearest(addr *net.TCPAddr, took time.Duration) time.Duration {
	known, now := m.of(addr), time.Now()
	if known == nil {
		return took
	}
	if least := known.nearest.Load(); least != nil && least.took <= took && now.Sub(least.at) < nearestTime {
		return least.took
	}
	known.nearest.Store(&connecting{took, now})
	return took
}

// of is nil for an address that is not remembered: one without an IP, or with a
// zone, whose text is not to be told by IP and port. The slot is chosen by what
// differs most among the servers of a client, the last byte and the port.
func (m *endpointMemo) of(addr *net.TCPAddr) *knownEndpoint {
	if addr == nil || len(addr.IP) == 0 || addr.Zone != "" {
		return nil
	}
	slot := &m[(uint(addr.IP[len(addr.IP)-1])+uint(addr.Port))%uint(len(m))]
	known := slot.Load()
	if known == nil || known.port != addr.Port || known.ip != string(addr.IP) {
		known = &knownEndpoint{ip: string(addr.IP), port: addr.Port, text: addr.String()}
		slot.Store(known)
	}
	return known
}
