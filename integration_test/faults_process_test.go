package integration_test

import (
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
	"github.com/tlsresume/tlsresume/resume"
)

// asServerProcess makes the test binary a server. Its value is a serving.
const asServerProcess = "TLSRESUME_TEST_SERVER"

// A serving is what a server process needs. It echoes until it is killed, or
// until its standard input ends with the test.
type serving struct {
	CertFile, KeyFile string
	Keys              [32]byte // for its tickets
}

func (s *serving) serve(in io.Reader, out io.Writer) error {
	cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	config.SetSessionTicketKeys([][32]byte{s.Keys})
	server, err := tlstest.NewServer(tlstest.Options{Config: config})
	if err != nil {
		return err
	}
	return process.Listening(server.Addr, in, out)
}

// A mortal is a server program that is killed and started again, elsewhere.
type mortal struct {
	name  string
	stale bool // what it gave out is worthless when it is back
	start func(t testing.TB, ca *tlstest.CA, life int) (addr string, kill func())
}

var mortals = []mortal{
	{"Go, the same keys", false, func(t testing.TB, ca *tlstest.CA, _ int) (string, func()) {
		return startGo(t, ca, 1)
	}},
	{"Go, new keys", true, func(t testing.TB, ca *tlstest.CA, life int) (string, func()) {
		return startGo(t, ca, byte(life+1))
	}},
	{"openssl s_server", true, func(t testing.TB, ca *tlstest.CA, _ int) (string, func()) {
		server, err := peer.OpenSSL().Start(issue(ca, host))
		if errors.Is(err, peer.ErrMissing) {
			peerMissing(t, err)
		}
		require.NoError(t, err)
		kill := sync.OnceFunc(func() { server.Close() })
		t.Cleanup(kill)
		return server.Addr, kill
	}},
}

// startGo starts such a process. kill waits for its end.
func startGo(t testing.TB, ca *tlstest.CA, key byte) (addr string, kill func()) {
	t.Helper()
	certFile, keyFile, err := tlstest.WriteFiles(t.TempDir(), issue(ca, host))
	require.NoError(t, err)
	s := process.StartServer[any](t, asServerProcess, serving{CertFile: certFile, KeyFile: keyFile, Keys: [32]byte{key}})
	return s.Addr, func() { s.Kill() }
}

// A server process is killed in the middle of a burst and comes back. What was
// under way fails, once; no ticket is used twice; the rush goes on, and
// resumes.
func TestAServerKilledInMidBurstIsResumedWithAgain(t *testing.T) {
	for _, m := range mortals {
		for _, w := range faultWays() {
			t.Run(m.name+"/"+w.name, func(t *testing.T) { m.check(t, w) })
		}
	}
}

func (m mortal) check(t *testing.T, w way) {
	const lives = 4
	descriptorCheck(t)
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host}
	onlyP256(client)
	addr, kill := m.start(t, ca, 0)
	b := newBench(t, w, new(resume.ClientCache), addr, client, 0)
	for life := range lives {
		rush := b.rush()
		rush.await(t, rush.worked, crowded)
		kill()
		rush.await(t, rush.failed, 1)
		addr, kill = m.start(t, ca, life+1)
		b.proxy.Retarget(addr)
		rush.goOn()
		rush.await(t, rush.worked, crowded)
		rush.end()
		require.LessOrEqual(t, rush.failures.Load(), int64(crowded), "each connection that was under way, once")

		_, err := b.visit(b.proxy.Addr)
		require.NoError(t, err, "the next connection works")
		b.resumed(t, b.proxy.Addr)
	}
	b.requireAddsUp(t)
	if b.bound() && m.stale {
		require.Positive(t, b.heard.since(0)["HandshakeDone refused"])
	}
}

// requireAddsUp holds what the wire, the books and the events must agree on
// after a rush in which connections failed.
func (b *bench) requireAddsUp(t *testing.T) {
	t.Helper()
	counts, st, events := requireNoReuse(t, b.proxy.Identities), b.c.Stats(), b.heard.since(0)
	t.Logf("%d connections, %d offered a ticket: %v; %v", counts.Connections, counts.Offered, st, events)
	assert.GreaterOrEqual(t, int(st.Used), counts.Offered, "some came when no server was there")
	assert.EqualValues(t, st.Used, events["SessionEnded used"])
	assert.EqualValues(t, st.Captured, events["TicketCaptured"])
	assert.EqualValues(t, st.Back, events["SessionReturned"])
	assert.EqualValues(t, st.Full+st.Resumed, b.heard.count(resume.HandshakeDone))
	assert.EqualValues(t, st.Missed, b.heard.count(resume.SessionMissing))
	assert.Zero(t, b.heard.count(resume.BackedOff), "the server never failed while it lived")
}

// crowded is how many connections of a rush are made at once.
const crowded = 8

// A rush is connections made in parallel, one after the other in each of a
// crowd. Where one fails, the next waits to be told to go on.
type rush struct {
	worked, failed chan struct{} // one for each, as far as anybody waits
	failures       atomic.Int64
	on, stop       chan struct{}
	goOn, over     func()
	all            sync.WaitGroup
}

func (b *bench) rush() *rush {
	r := &rush{worked: make(chan struct{}), failed: make(chan struct{}), on: make(chan struct{}), stop: make(chan struct{})}
	r.goOn = sync.OnceFunc(func() { close(r.on) })
	r.over = sync.OnceFunc(func() { close(r.stop) })
	for range crowded {
		r.all.Go(func() {
			for !isDone(r.stop) {
				if _, err := b.visit(b.proxy.Addr); err == nil {
					r.tell(r.worked)
					continue
				}
				r.failures.Add(1)
				r.tell(r.failed)
				<-r.on
			}
		})
	}
	return r
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tell waits until somebody knows, or the rush is over.
func (r *rush) tell(what chan struct{}) {
	select {
	case what <- struct{}{}:
	case <-r.on:
	case <-r.stop:
	}
}

// await waits for n connections that worked, or failed.
func (r *rush) await(t testing.TB, what chan struct{}, n int) {
	t.Helper()
	limit := time.After(patience)
	for range n {
		select {
		case <-what:
		case <-limit:
			r.goOn()
			r.end()
			require.FailNow(t, "the rush does not go on")
		}
	}
}

func (r *rush) end() {
	r.over()
	r.all.Wait()
}
