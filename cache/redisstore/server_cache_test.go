package redisstore_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"flag"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
	"github.com/tlsresume/tlsresume/resume"
)

var serverTickets = flag.Int("server-tickets", 1000, "tickets that four server processes are shown at once")

// asTLSServer makes the test binary a server process. Its value is a post.
const asTLSServer = "TLSRESUME_REDISSTORE_SERVER"

// A post is what a server process has to do: answer connections, with sessions
// in Redis, until its standard input ends.
type post struct {
	Cert, Key string // PEM files
	Redis     string
	StoreKey  [32]byte
}

// A census is what it says at the end: the connections that it served, those
// that it resumed, the tickets that it resumed not because the store was late
// or failing, and how often the store was.
type census struct{ Full, Resumed, Without, Slow int64 }

func (p *post) serve(in io.Reader, out io.Writer) error {
	cert, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return err
	}
	store, err := openStore(p.Redis, p.StoreKey)
	if err != nil {
		return err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var without atomic.Int64
	cache := &resume.ServerCache{Store: store, Observe: func(e resume.Event) {
		if e.Kind == resume.SessionMissing && e.Reason == "store" {
			without.Add(1)
		}
	}}
	config := &tls.Config{
		Certificates:     []tls.Certificate{cert},
		CurvePreferences: []tls.CurveID{tls.CurveP256},
	}
	var seen tlstest.Tally
	go seen.Serve(cache.NewListener(inner, config))
	if err := process.Listening(inner.Addr().String(), in, out); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(census{
		seen.Full.Load(), seen.Resumed.Load(), without.Load(), int64(cache.Stats().StoreErrors),
	})
}

// A serverProcess is a running one. It ends with its census.
type serverProcess = process.Server[census]

func startTLSServer(t testing.TB, p post) *serverProcess {
	t.Helper()
	return process.StartServer[census](t, asTLSServer, p)
}

// A presenter is a client's cache that offers one session, to any server, and
// remembers what comes.
type presenter struct{ offered, got *tls.ClientSessionState }

func (p *presenter) Get(string) (*tls.ClientSessionState, bool) {
	return p.offered, p.offered != nil
}

func (p *presenter) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		p.got = s
	}
}

// present makes one connection for each address. All are open before the first
// ClientHello goes out, and all of them go out at once.
func present(t testing.TB, config *tls.Config, offered *tls.ClientSessionState, addrs ...string) (resumed int64, got *tls.ClientSessionState) {
	t.Helper()
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	var accepted atomic.Int64
	var all sync.WaitGroup
	begin, caches := make(chan struct{}), make([]presenter, len(addrs))
	for i, addr := range addrs {
		inner, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		require.NoError(t, err)
		defer inner.Close()
		inner.SetDeadline(time.Now().Add(patience))
		caches[i].offered = offered
		mine := config.Clone()
		mine.ClientSessionCache = &caches[i]
		all.Go(func() {
			<-begin
			conn := tls.Client(inner, mine)
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Error(err)
			} else if _, err = io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			if conn.ConnectionState().DidResume {
				accepted.Add(1)
			}
		})
	}
	close(begin)
	all.Wait()
	return accepted.Load(), caches[0].got
}

// Four server processes share one Redis and are shown one ticket at once, again
// and again. None is accepted twice, and each once, but for those of which a
// server said that its store was late.
func TestOneServerProcessAcceptsATicketThatAllAreShown(t *testing.T) {
	needServer(t)
	ca := tlstest.Must(tlstest.NewCA("root"))
	certFile, keyFile, err := tlstest.WriteFiles(t.TempDir(), tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{host}})))
	require.NoError(t, err)
	p := post{Cert: certFile, Key: keyFile, Redis: startServer(t).addr}
	rand.Read(p.StoreKey[:])
	var servers []*serverProcess
	var addrs []string
	for range 4 {
		server := startTLSServer(t, p)
		servers, addrs = append(servers, server), append(addrs, server.Addr)
	}
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	tickets := *serverTickets
	if testing.Short() {
		tickets = min(tickets, 50)
	}
	var total int64
	for n := range tickets {
		_, ticket := present(t, client, nil, addrs[n%len(addrs)])
		require.NotNil(t, ticket)
		accepted, _ := present(t, client, ticket, addrs...)
		require.LessOrEqual(t, accepted, int64(1), "ticket %d", n)
		total += accepted
	}
	var sum census
	for _, server := range servers {
		seen := server.End(t)
		t.Logf("a server resumed %d", seen.Resumed)
		sum.Full, sum.Resumed = sum.Full+seen.Full, sum.Resumed+seen.Resumed
		sum.Without, sum.Slow = sum.Without+seen.Without, sum.Slow+seen.Slow
	}
	t.Logf("%d of %d tickets accepted; %d presentations without the store, %d slow or failed calls of it",
		total, tickets, sum.Without, sum.Slow)
	require.Equal(t, total, sum.Resumed, "both sides count the same")
	require.EqualValues(t, tickets*(1+len(servers)), sum.Full+sum.Resumed)
	require.GreaterOrEqual(t, total+sum.Without, int64(tickets))
}
