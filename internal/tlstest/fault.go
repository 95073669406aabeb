package tlstest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A FaultKind is what a Faulty does to a connection.
type FaultKind int

const (
	NoFault  FaultKind = iota
	Refuse             // both connections are reset before anything passes
	Finish             // both directions end, as if each side had closed
	Reset              // both connections are reset
	Truncate           // this direction ends; the other goes on
	Stall              // the rest of this direction is lost, and nothing says so
	Flip               // one bit arrives wrong
	Delay              // the rest of this direction comes FaultDelay later
)

var faultNames = [...]string{"NoFault", "Refuse", "Finish", "Reset", "Truncate", "Stall", "Flip", "Delay"}

// String is the name of the constant.
func (k FaultKind) String() string { return faultNames[k] }

// FaultDelay is long for loopback, so that whoever waits is seen to wait.
const FaultDelay = 2 * time.Millisecond

// A Direction is one half of a connection.
type Direction int

const (
	ToServer Direction = iota
	ToClient
)

// String is the name of the constant.
func (d Direction) String() string { return [...]string{"ToServer", "ToClient"}[d] }

// A Fault happens to one connection, when the byte after the first After of a
// direction is there to be passed on. Those before it have been.
type Fault struct {
	Kind      FaultKind
	Direction Direction
	After     int
}

// String says what happens, and where.
func (f Fault) String() string { return fmt.Sprintf("%v %v after %d", f.Kind, f.Direction, f.After) }

// A Faulty is a Proxy that breaks connections.
type Faulty struct {
	*Proxy

	mu    sync.Mutex // guards the rest
	next  []*Trial
	chose func() Fault
}

// NewFaulty starts one. Until told otherwise it is a Proxy.
func NewFaulty(target string, parallel int) (*Faulty, error) {
	f := new(Faulty)
	proxy, err := started(newProxy("127.0.0.1:0", target, parallel, new(Identities), func(client, server net.Conn, seen io.Writer) {
		f.trial().relay(client, server, seen)
	}))
	f.Proxy = proxy
	return f, err
}

// Next makes a fault happen to the next connection for which none is set.
func (f *Faulty) Next(fault Fault) *Trial {
	f.mu.Lock()
	defer f.mu.Unlock()
	trial := newTrial(fault)
	f.next = append(f.next, trial)
	return trial
}

// Choose makes choose say what happens to all other connections. It is called
// under a lock, once for each.
func (f *Faulty) Choose(choose func() Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.chose = choose
}

func (f *Faulty) trial() *Trial {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.next) > 0 {
		trial := f.next[0]
		f.next = f.next[1:]
		return trial
	}
	if f.chose != nil {
		return newTrial(f.chose())
	}
	return newTrial(Fault{})
}

// A Trial is a connection and what happens to it.
type Trial struct {
	Fault Fault
	Hit   <-chan struct{} // closed when the fault happens, if it does
	Over  <-chan struct{} // closed when both sides have ended

	hit  chan struct{}
	over chan struct{}
	cut  chan struct{} // closed when nothing passes any more, either way
	ends [2]recordEnds // of what came from either side
}

func newTrial(fault Fault) *Trial {
	t := &Trial{Fault: fault, hit: make(chan struct{}), over: make(chan struct{}), cut: make(chan struct{})}
	t.Hit, t.Over = t.hit, t.over
	return t
}

// Records says where each record of a direction ended, in bytes from its
// beginning. It must not be called before Over.
func (t *Trial) Records(d Direction) []int { return t.ends[d].at }

func (t *Trial) relay(client, server net.Conn, seen io.Writer) {
	defer close(t.over)
	if t.Fault.Kind == Refuse {
		close(t.hit)
		reset(client, server)
		return
	}
	var back sync.WaitGroup
	back.Go(func() { t.pass(ToClient, client, server, io.Discard) })
	t.pass(ToServer, server, client, seen)
	back.Wait()
}

// pass relays one direction. What may not pass is read all the same: to close
// over unread bytes would be a reset.
func (t *Trial) pass(d Direction, to, from net.Conn, seen io.Writer) {
	defer closeWrite(to)
	mine := t.Fault.Kind != NoFault && t.Fault.Direction == d
	silent := false
	buf := make([]byte, 64<<10)
	for passed := 0; ; {
		n, err := from.Read(buf)
		seen.Write(buf[:n])
		t.ends[d].Write(buf[:n])
		rest := buf[:n]
		if before := t.Fault.After - passed; mine && n > before {
			t.forward(to, rest[:before])
			rest, mine = rest[before:], false
			silent = t.strike(to, from, rest)
		}
		if passed += n; !silent {
			t.forward(to, rest)
		}
		if err != nil {
			return
		}
	}
}

// forward writes, unless the connection is cut. That the other side is gone
// will be seen where it is read from.
func (t *Trial) forward(to net.Conn, b []byte) {
	select {
	case <-t.cut:
	default:
		if len(b) > 0 {
			to.Write(b)
		}
	}
}

// strike makes the fault happen where rest would follow, and reports whether
// this direction is silent from then on.
func (t *Trial) strike(to, from net.Conn, rest []byte) (silent bool) {
	defer close(t.hit)
	switch t.Fault.Kind {
	case Finish:
		close(t.cut)
		closeWrite(to)
		closeWrite(from)
		return true
	case Reset:
		close(t.cut)
		reset(to, from)
		return true
	case Truncate:
		closeWrite(to)
		return true
	case Stall:
		return true
	case Flip:
		rest[0] ^= 1
	case Delay:
		time.Sleep(FaultDelay)
	}
	return false
}

// reset closes without a FIN.
func reset(conns ...net.Conn) {
	for _, conn := range conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
}

// recordEnds reads the lengths of the TLS records that are written to it.
type recordEnds struct {
	at     []int
	header []byte
	body   int // bytes of the record still to come
	total  int
}

func (r *recordEnds) Write(b []byte) (int, error) {
	const headerSize = 5 // RFC 8446, Section 5.1
	for rest := b; len(rest) > 0; {
		n := min(r.body, len(rest))
		if r.body == 0 {
			n = min(headerSize-len(r.header), len(rest))
			if r.header = append(r.header, rest[:n]...); len(r.header) == headerSize {
				r.body, r.header = int(binary.BigEndian.Uint16(r.header[3:])), r.header[:0]
			}
		} else if r.body -= n; r.body == 0 {
			r.at = append(r.at, r.total+n)
		}
		r.total, rest = r.total+n, rest[n:]
	}
	return len(b), nil
}
