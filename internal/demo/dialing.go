package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

// A dialing is one run of dial. What the cache knows of a connection comes as
// events, on whatever goroutine, and is kept here until the connection's line
// is printed.
type dialing struct {
	program string // whose name errors begin with
	options *dialOptions
	cache   resume.ClientCache
	dialer  *resume.Dialer

	mu      sync.Mutex // guards the rest, and keeps lines whole
	done    map[*resume.Conn]resume.Event
	tickets map[*resume.Conn]int // received on it
	failure error                // the first, which the program ends with

	full, resumed, failed int // connections, each in one of them
}

func newDialing(program string, o *dialOptions) *dialing {
	r := &dialing{
		program: program, options: o,
		done: make(map[*resume.Conn]resume.Event), tickets: make(map[*resume.Conn]int),
	}
	r.cache.Observe = r.observe
	return r
}

// run makes the connections. When ctx ends it begins no more of them.
func (r *dialing) run(ctx context.Context) {
	var group errgroup.Group // for its limit; what fails is told in its line
	group.SetLimit(r.options.c)
	for i := 0; i < r.options.n && ctx.Err() == nil; i++ {
		group.Go(func() error {
			if ctx.Err() == nil { // it may have waited for its turn
				r.connection(ctx, i+1)
			}
			return nil
		})
	}
	group.Wait()
}

// observe notes what the cache says of each connection.
func (r *dialing) observe(e resume.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case resume.HandshakeDone:
		r.done[e.Conn] = e
	case resume.TicketCaptured:
		r.tickets[e.Conn]++
	case resume.StoreFailed:
		fmt.Fprintf(os.Stderr, "%s: store: %s: %v\n", r.program, e.Reason, e.Err)
	}
}

// A Line is what is printed of a connection.
type Line struct {
	N         int     `json:"n"` // from 1, in the order they began
	Resumed   bool    `json:"resumed"`
	Session   string  `json:"session,omitempty"` // resumed, else received
	Endpoint  string  `json:"endpoint,omitempty"`
	Received  int     `json:"received"`     // tickets
	Handshake float64 `json:"handshake_ms"` // with the TCP dial and the store
	Reason    string  `json:"reason,omitempty"`
	Error     string  `json:"error,omitempty"`
}

// connection makes one, from its dial to its line.
func (r *dialing) connection(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	conn, err := r.dialer.DialContext(ctx, "tcp", r.options.host)
	took := time.Since(began)
	l := Line{N: n, Handshake: float64(took.Microseconds()) / 1000}
	if err != nil {
		r.print(l, err)
		return
	}
	defer conn.Close()
	// The session that it resumed is to be had until the first ticket takes its
	// place; a full handshake has none until then.
	l.Session = conn.Get0Session().Info().ID
	l.Endpoint = conn.RemoteAddr().String()
	err = r.talk(ctx, conn, took)
	if l.Session == "" {
		l.Session = conn.Get0Session().Info().ID
	}
	r.mu.Lock()
	l.Received = r.tickets[conn]
	l.Resumed, l.Reason = r.done[conn].Resumed, r.done[conn].Reason
	delete(r.tickets, conn)
	delete(r.done, conn)
	r.mu.Unlock()
	r.print(l, err)
}

// talk makes its request, waits for a session and shuts the connection down,
// which brings the rest of them. That no session came is an error only of who
// asked for one with -wait, and not even then of a server that has none to give.
func (r *dialing) talk(ctx context.Context, conn *resume.Conn, took time.Duration) error {
	if r.options.path != "" {
		if err := r.get(ctx, conn); err != nil {
			return err
		}
	}
	moment := max(patience, 2*took)
	waiting := ctx
	if !r.options.wait {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, moment)
		defer cancel()
	}
	_, err := conn.WaitSession(waiting)
	switch {
	case err == nil || errors.Is(err, resume.ErrNoTicket):
	case errors.Is(err, context.DeadlineExceeded) && !r.options.wait:
	default:
		return err
	}
	closing, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	conn.Shutdown(closing) // some peers do not answer
	return nil
}

// get asks for the path, and reads the answer whatever it is. The Host field
// has the port, as RFC 9110, Section 7.2 wants it where it is not the default.
func (r *dialing) get(ctx context.Context, conn *resume.Conn) error {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	over := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // any time past
	defer over()
	const request = "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
	if _, err := fmt.Fprintf(conn, request, r.options.path, r.options.host); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(conn, maxBody))
	return err
}

// print counts and tells a connection. What failed is told in its line; the
// program ends with it, under its number, if it was the first.
func (r *dialing) print(l Line, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := "full"
	switch {
	case err != nil:
		kind, l.Error = "failed", oneLine(err.Error())
		r.failed++
		if r.failure == nil {
			r.failure = fmt.Errorf("connection %d: %w", l.N, err)
		}
	case l.Resumed:
		kind = "resumed"
		r.resumed++
	default:
		r.full++
	}
	if r.options.asJSON {
		json.NewEncoder(Stdout).Encode(l)
		return
	}
	text := fmt.Sprintf("%3d  %-7s  %7.2f ms  tickets %d  session %-16s  %s", l.N, kind, l.Handshake, l.Received, l.Session, l.Endpoint)
	switch l.Reason {
	case "":
	case "none": // plain words, since it is no fault of a session
		text += "  no session was there"
	default:
		text += "  " + l.Reason
	}
	if l.Error != "" {
		text += "  " + l.Error
	}
	fmt.Fprintln(Stdout, text)
}

// summary is the last line. It counts those connections that were begun.
func (r *dialing) summary() {
	n, captured := r.full+r.resumed+r.failed, r.cache.Stats().Captured
	if r.options.asJSON {
		fmt.Fprintf(Stdout, `{"connections":%d,"full":%d,"resumed":%d,"captured":%d}`+"\n", n, r.full, r.resumed, captured)
		return
	}
	fmt.Fprintf(Stdout, "%d connections, %d full, %d resumed, %d tickets\n", n, r.full, r.resumed, captured)
}
