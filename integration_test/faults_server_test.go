package integration_test

import (
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// A saboteur breaks the resumptions of a server, as long as told to.
type saboteur struct {
	site *site
	on   atomic.Bool
	hang chan struct{} // closed: go on
	b    *bench
}

func (s *saboteur) fail(resumed bool) error {
	if s.on.Load() && resumed {
		return errors.New("no resumption here")
	}
	return nil
}

func (s *saboteur) stall(resumed bool) {
	if s.on.Load() && resumed {
		s.b.stuck <- struct{}{}
		<-s.hang
	}
}

// unwrapping makes it act when a ticket is offered.
func unwrapping(act func(*saboteur) error) func(*saboteur, *tls.Config) {
	return func(s *saboteur, c *tls.Config) {
		keys := c.Clone()
		c.WrapSession = keys.EncryptTicket
		c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			if len(identity) > 0 {
				if err := act(s); err != nil {
					return nil, err
				}
			}
			return keys.DecryptTicket(identity, cs)
		}
	}
}

// confused makes it remember another secret than it agreed on.
func confused(s *saboteur, c *tls.Config) {
	keys := c.Clone()
	c.WrapSession = keys.EncryptTicket
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := keys.DecryptTicket(identity, cs)
		if !s.on.Load() || state == nil || err != nil {
			return state, err
		}
		encoded, err := state.Bytes()
		if err != nil {
			return nil, err
		}
		// After version, type, cipher suite, creation and length (rule T9).
		encoded[14] ^= 1
		return tls.ParseSessionState(encoded)
	}
}

// accepting makes it act when it has resumed: in TLS 1.3 the client's handshake
// is over by then.
func accepting(act func(*saboteur, bool) error) func(*saboteur, *tls.Config) {
	return func(s *saboteur, c *tls.Config) {
		c.VerifyConnection = func(cs tls.ConnectionState) error { return act(s, cs.DidResume) }
	}
}

func stalling(s *saboteur, resumed bool) error {
	s.stall(resumed)
	return nil
}

// A brokenServer is a way for a server to break resumptions, and no other
// handshake.
type brokenServer struct {
	why      string
	version  uint16
	sabotage func(*saboteur, *tls.Config)

	// How many connections of a Dialer or NewConn fail before one works, and
	// of the other ways. 0: all that have a ticket; -1: as long as it breaks
	// them and tickets last.
	tries, plugged int
}

var brokenServers = []brokenServer{
	{
		why: "it leaves without a word when a ticket is offered", version: tls.VersionTLS13,
		sabotage: unwrapping(func(s *saboteur) error { return s.fail(true) }),
	}, {
		why: "it has another secret", version: tls.VersionTLS13, tries: 3,
		sabotage: confused,
	}, {
		why: "it resumes, and then fails", version: tls.VersionTLS13, tries: 3, plugged: -1,
		sabotage: accepting((*saboteur).fail),
	}, {
		why: "it stands still when a ticket is offered", version: tls.VersionTLS13,
		sabotage: unwrapping(func(s *saboteur) error { return stalling(s, true) }),
	}, {
		why: "it resumes, and then stands still", version: tls.VersionTLS13, tries: -1, plugged: -1,
		sabotage: accepting(stalling),
	}, {
		why: "it leaves without a word when a ticket is offered", version: tls.VersionTLS12, tries: 1, plugged: 1,
		sabotage: unwrapping(func(s *saboteur) error { return s.fail(true) }),
	}, {
		why: "it resumes, and then fails", version: tls.VersionTLS12, tries: 1, plugged: 1,
		sabotage: accepting((*saboteur).fail),
	}, {
		why: "it stands still when a ticket is offered", version: tls.VersionTLS12, tries: 8, plugged: 1,
		sabotage: unwrapping(func(s *saboteur) error { return stalling(s, true) }),
	},
}

// A server that breaks when it is to resume costs a ticket each time, and no
// second use. What can be held against it is, where the connection is known.
func TestAServerThatBreaksResumptionsIsServed(t *testing.T) {
	for _, row := range brokenServers {
		for _, w := range ways {
			name := row.why + "/" + tls.VersionName(row.version) + "/" + w.name
			t.Run(name+", 1 ticket", func(t *testing.T) { row.check(t, w, 1) })
			if row.version == tls.VersionTLS13 {
				t.Run(name+", 8 tickets", func(t *testing.T) { row.check(t, w, 8) })
			}
		}
	}
}

func (row brokenServer) check(t *testing.T, w way, stock int) {
	descriptorCheck(t)
	sab := &saboteur{hang: make(chan struct{})}
	sab.site = newSite(t, setup{server: func(c *tls.Config) {
		c.MaxVersion = row.version
		newKeys(c)
		row.sabotage(sab, c)
	}})
	b := newBench(t, w, new(resume.ClientCache), sab.site.Addr, sab.site.with(onlyP256), 1)
	sab.b = b
	t.Cleanup(func() { close(sab.hang) }) // before the server is waited for
	b.entry.stock(t, b.proxy.Addr, stock)

	sab.on.Store(true)
	tries := row.tries
	if !b.bound() {
		tries = row.plugged
	}
	if tries == 0 || tries > stock && row.version == tls.VersionTLS13 {
		tries = stock
	}
	if tries > 0 {
		row.failsFor(t, b, tries)
		b.full(t, b.proxy.Addr)
	} else {
		row.failsFor(t, b, 2*stock)
	}
	sab.on.Store(false)
	row.isForgiven(t, b, tries == 3)
	if row.version == tls.VersionTLS13 {
		requireNoReuse(t, sab.site.Identities)
		requireNoReuse(t, b.proxy.Identities)
	}
}

// failsFor makes connections that fail, each with a ticket of its own.
func (row brokenServer) failsFor(t *testing.T, b *bench, tries int) {
	t.Helper()
	for n := range tries {
		if b.c.Stats().Pooled == 0 {
			return
		}
		o := b.attempt(noFault)
		require.True(t, o.handshake != nil || o.talk != nil, "connection %d: %v", n+1, o)
		require.Equal(t, 1, o.offered, "connection %d: %v", n+1, o)
		row.requireEvents(t, b, o, n+1, tries)
	}
}

// requireEvents holds what is counted and heard of a connection that fails.
func (row brokenServer) requireEvents(t *testing.T, b *bench, o *outcome, nth, tries int) {
	t.Helper()
	want := make(map[string]int)
	if row.version == tls.VersionTLS13 {
		require.EqualValues(t, 1, o.after.Used-o.before.Used, "%v", o)
		captured, failed := int(o.after.Captured-o.before.Captured), int(o.after.Failed-o.before.Failed)
		require.Equal(t, b.forfeits(o, captured), failed, "%v", o)
		want = b.expected(o, 1, 0, captured, failed)
	} else if nth == tries {
		want["SessionEnded handshake"] = 1
	}
	if nth == 3 && b.bound() && row.tries == 3 {
		want["BackedOff"] = 1
	}
	require.Equal(t, want, o.events, "%v", o)
}

// isForgiven holds that a server that breaks no more is resumed with again.
func (row brokenServer) isForgiven(t *testing.T, b *bench, backedOff bool) {
	t.Helper()
	if backedOff {
		b.full(t, b.proxy.Addr) // for a while nothing is offered to it
		require.Positive(t, b.c.Stats().BackedOff)
		return
	}
	_, err := b.visit(b.proxy.Addr)
	require.NoError(t, err)
	b.resumed(t, b.proxy.Addr)
}

// A server that has sent data has gone along with the resumption. How the
// connection ends later says nothing against it.
func TestAnAlertAfterTheFirstDataIsNoFailedResumption(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	scope := c.NewScope()
	e := bound(scope, s.client)
	e.stock(t, s.Addr, 5)
	var conns []*resume.Conn
	for range 4 {
		conn := scope.NewConn(&tamperer{Conn: rawConn(t, s.Addr)}, s.client)
		defer conn.Close()
		require.NoError(t, conn.Handshake())
		require.True(t, conn.ConnectionState().DidResume)
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		require.NoError(t, talk(conn))
	}
	for _, conn := range conns {
		conn.NetConn().(*tamperer).out.Store(true)
		io.WriteString(conn, "level\n")
		readError(t, conn, "remote error")
	}
	e.resumed(t, s.Addr)
	require.Zero(t, c.Stats().BackedOff)
	requireNoReuse(t, s.Identities)
}
