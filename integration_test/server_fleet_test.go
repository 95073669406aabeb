package integration_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
	"github.com/tlsresume/tlsresume/resume"
)

// asServer makes the test binary a server process. Its value is a post.
const asServer = "TLSRESUME_TEST_FLEET"

// A post is what a server process has to do: answer connections until its
// standard input ends.
type post struct {
	Cert, Key string   // PEM files
	Standard  bool     // with the tickets of crypto/tls
	Dir       string   // with a store there; empty: in memory
	StoreKey  [32]byte // of the store
}

// A census is what it says at the end: how many connections there were, how many
// of them resumed, and how often the store failed it or was too slow.
type census struct{ Full, Resumed, Store int64 }

func (p *post) serve(in io.Reader, out io.Writer) error {
	cert, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cache := new(resume.ServerCache)
	listener, err := p.listener(cache, inner, &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		return err
	}
	var seen tlstest.Tally
	go seen.Serve(listener)
	if err := process.Listening(inner.Addr().String(), in, out); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(census{
		seen.Full.Load(), seen.Resumed.Load(), int64(cache.Stats().StoreErrors),
	})
}

func (p *post) listener(cache *resume.ServerCache, inner net.Listener, base *tls.Config) (net.Listener, error) {
	if p.Standard {
		return tls.NewListener(inner, base), nil
	}
	if p.Dir != "" {
		store, err := openStore(p.Dir, p.StoreKey)
		if err != nil {
			return nil, err
		}
		cache.Store = store
	}
	return cache.NewListener(inner, base), nil
}

// A serverProcess is a running one. It ends with its census.
type serverProcess = process.Server[census]

func startServer(t testing.TB, p post) *serverProcess {
	t.Helper()
	return process.StartServer[census](t, asServer, p)
}

// balance listens at one address and passes each connection on to one of the
// servers, by chance.
func balance(t testing.TB, servers ...*serverProcess) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	running.Go(func() {
		chance := mathrand.New(mathrand.NewPCG(8, 8))
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server := servers[chance.IntN(len(servers))]
			running.Go(func() { pass(client, server.Addr) })
		}
	})
	return listener.Addr().String()
}

// pass passes bytes on until both sides have ended.
func pass(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			io.Copy(way[1], way[0])
			way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// Two processes behind one address. Who shares a store resumes wherever it
// comes to; beside it the same without, and with crypto/tls alone.
func TestServersBehindOneAddressResumeWhatTheOtherSent(t *testing.T) {
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	certFile, keyFile, err := tlstest.WriteFiles(t.TempDir(), issue(ca, host))
	require.NoError(t, err)
	var storeKey [32]byte
	rand.Read(storeKey[:])
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host}
	for _, c := range []struct {
		name  string
		post  post
		least float64 // resumed, of all that could
		most  float64
	}{
		{"a shared store", post{Dir: t.TempDir(), StoreKey: storeKey}, 1, 1},
		{"memory of each", post{}, 0, 0.8},
		{"crypto/tls, keys of each", post{Standard: true}, 0, 0.8},
	} {
		c.post.Cert, c.post.Key = certFile, keyFile
		servers := []*serverProcess{startServer(t, c.post), startServer(t, c.post)}
		addr := balance(t, servers...)
		const clients, turns = 8, 20
		for range clients {
			turnsOf(t, addr, client, turns)
		}
		a, b := servers[0].End(t), servers[1].End(t)
		require.EqualValues(t, clients*turns, a.Full+a.Resumed+b.Full+b.Resumed)
		rate := float64(a.Resumed+b.Resumed) / (clients * (turns - 1))
		t.Logf("%-24s  %5.1f %% of %d connections resumed (server 1: %d, server 2: %d), %d slow calls of the store",
			c.name, 100*rate, clients*(turns-1), a.Resumed, b.Resumed, a.Store+b.Store)
		require.LessOrEqual(t, rate, c.most, c.name)
		if slow := a.Store + b.Store; slow < tooBusy { // each costs one handshake
			require.GreaterOrEqual(t, a.Resumed+b.Resumed+slow, int64(c.least*clients*(turns-1)), c.name)
		}
	}
}

// tooBusy is from how many slow calls on a server may do without its store for
// a while. It says more of the machine than of the server.
const tooBusy = 4

// turnsOf is a client: connections one after the other, each with the session
// the last one brought.
func turnsOf(t testing.TB, addr string, config *tls.Config, turns int) {
	t.Helper()
	mine := config.Clone()
	mine.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	for range turns {
		dialer := &tls.Dialer{Config: mine}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		cancel()
		require.NoError(t, err)
		require.NoError(t, talk(conn.(*tls.Conn)))
		require.NoError(t, conn.Close())
	}
}

// All are shown one ticket at once; one of them accepts it.
func TestOneServerProcessAcceptsATicketThatAllAreShown(t *testing.T) {
	leakCheck(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	certFile, keyFile, err := tlstest.WriteFiles(t.TempDir(), issue(ca, host))
	require.NoError(t, err)
	p := post{Cert: certFile, Key: keyFile, Dir: t.TempDir()}
	rand.Read(p.StoreKey[:])
	var servers []*serverProcess
	for range 4 {
		servers = append(servers, startServer(t, p))
	}
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host}
	tickets := 50
	if testing.Short() {
		tickets = 5
	}
	var total int64
	for n := range tickets {
		keep := new(offering)
		presented(t, servers[n%4].Addr, client, keep)
		var accepted atomic.Int32
		var all sync.WaitGroup
		for _, server := range servers {
			all.Go(func() {
				if presented(t, server.Addr, client, &offering{offer: keep.last()}) {
					accepted.Add(1)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, accepted.Load(), int32(1), "ticket %d", n)
		total += int64(accepted.Load())
	}
	var slow int64
	for _, server := range servers {
		slow += server.End(t).Store
	}
	t.Logf("%d of %d tickets accepted, %d slow calls of the store", total, tickets, slow)
	if slow < tooBusy {
		require.GreaterOrEqual(t, total+slow, int64(tickets))
	}
}

// presented makes a connection and reports whether it resumed.
func presented(t testing.TB, addr string, config *tls.Config, sessions tls.ClientSessionCache) bool {
	mine := config.Clone()
	mine.ClientSessionCache = sessions
	conn, err := tls.Dial("tcp", addr, mine)
	if err != nil {
		t.Error(err)
		return false
	}
	defer conn.Close()
	if err := talk(conn); err != nil {
		t.Error(err)
	}
	return conn.ConnectionState().DidResume
}
