package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tlsresume/tlsresume/resume"
)

// A tally is what clients or servers say of a site's connections.
type tally struct{ full, resumed, other atomic.Int64 }

func (t *tally) add(resumed bool) {
	if resumed {
		t.resumed.Add(1)
	} else {
		t.full.Add(1)
	}
}

// String is for the report.
func (t *tally) String() string {
	return fmt.Sprintf("full %d, resumed %d, other %d", t.full.Load(), t.resumed.Load(), t.other.Load())
}

// act does one thing to one entry.
func (s *soak) act(random *rand.Rand) {
	e := s.entries[random.IntN(len(s.entries))]
	addr := e.site.addr(random)
	if e.site.calm { // its connections are counted exactly
		e.visitSoaking(addr)
		return
	}
	switch n := random.IntN(100); {
	case n < 60:
		e.visitSoaking(addr)
	case n < 70:
		e.crowdSoaking(addr, 2+random.IntN(4))
	case n < 76:
		e.hurry(addr, time.Duration(random.IntN(2000))*time.Microsecond)
	case n < 82:
		e.leave(addr, random.IntN(2) == 0)
	case n < 88:
		e.waitAndShutDown(addr)
	case n < 94:
		e.hold(addr, random)
	case n < 96:
		e.cache.Sweep()
	case n < 97 && !e.cache.stores:
		e.clear()
	case n < 98:
		e.site.restart()
	default:
		e.cache.Flush(context.Background())
	}
}

// open makes a connection, or counts that there is none.
func (e soakEntry) open(addr string, within time.Duration) (client, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := e.dial(ctx, addr)
	if err != nil {
		e.site.clients.other.Add(1)
		return nil, false
	}
	conn.SetDeadline(time.Now().Add(e.site.patience()))
	return conn, true
}

// visitSoaking is a connection that is used and closed.
func (e soakEntry) visitSoaking(addr string) {
	conn, ok := e.open(addr, e.site.patience())
	if !ok {
		return
	}
	defer conn.Close()
	if talkInTime(conn) != nil {
		e.site.clients.other.Add(1)
		return
	}
	e.site.clients.add(conn.ConnectionState().DidResume)
}

// talkInTime is talk with the deadline that is set.
func talkInTime(conn net.Conn) error {
	if _, err := conn.Write([]byte("level\n")); err != nil {
		return err
	}
	for line := make([]byte, 6); len(line) > 0; {
		n, err := conn.Read(line)
		if err != nil {
			return err
		}
		line = line[n:]
	}
	return nil
}

func (e soakEntry) crowdSoaking(addr string, n int) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() { e.visitSoaking(addr) })
	}
	all.Wait()
}

// hurry gives a handshake up.
func (e soakEntry) hurry(addr string, within time.Duration) {
	if conn, ok := e.open(addr, within); ok {
		e.site.clients.other.Add(1)
		conn.Close()
	}
}

// leave closes a connection unread, or the raw one underneath.
func (e soakEntry) leave(addr string, raw bool) {
	conn, ok := e.open(addr, e.site.patience())
	if !ok {
		return
	}
	e.site.clients.other.Add(1)
	if raw {
		conn.NetConn().Close()
	}
	conn.Close()
}

// waitAndShutDown is the close that loses nothing, where there is one.
func (e soakEntry) waitAndShutDown(addr string) {
	conn, ok := e.open(addr, e.site.patience())
	if !ok {
		return
	}
	defer conn.Close()
	e.site.clients.other.Add(1)
	if known, ok := conn.(*resume.Conn); ok {
		ctx, cancel := context.WithTimeout(context.Background(), e.site.patience())
		defer cancel()
		known.WaitSession(ctx)
		known.Shutdown(ctx)
	}
}

// clear clears the scope, or the cache where it is plugged in directly.
func (e soakEntry) clear() {
	if e.scope != nil {
		e.scope.Clear(context.Background())
	} else {
		e.cache.Clear(context.Background())
	}
}

// hold takes a session by its server and lets go of it, or removes it.
func (e soakEntry) hold(addr string, random *rand.Rand) {
	session := e.Get1Session(e.key(addr))
	if session == nil {
		return
	}
	defer session.Release()
	again := session.Retain()
	defer again.Release()
	if random.IntN(4) == 0 && !e.cache.stores {
		e.cache.Remove(session)
	}
}
