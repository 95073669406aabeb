package redisstore_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/expect"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

const host = "server.test"

// A task is what a client process does: connections to a server, with what
// Redis keeps.
type task struct {
	Redis    string // empty: memory only
	Key      [32]byte
	Addr     string
	CA       string
	Parallel int
	Rounds   int  // 0: until it is killed
	Near     int  // NearTickets
	Wait     bool // for a line on standard input, before the first
}

// A done is what it prints of each round.
type done struct{ Connections, Resumed, Failed int }

func (t *task) run(in io.Reader, out io.Writer) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(t.CA))
	config := &tls.Config{RootCAs: roots, ServerName: host, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	c, err := openCache(t.Redis, t.Key)
	if err != nil {
		return err
	}
	c.NearTickets = t.Near
	d := &resume.Dialer{Scope: c.Scope("tenant"), Config: config}
	if t.Wait {
		fmt.Fprintln(out, "{}")
		if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
			return err
		}
	}
	for n := 0; t.Rounds == 0 || n < t.Rounds; n++ {
		if err := json.NewEncoder(out).Encode(t.round(d)); err != nil {
			return err
		}
	}
	return c.Close()
}

func (t *task) round(d *resume.Dialer) (sum done) {
	var mu sync.Mutex // guards sum
	var all sync.WaitGroup
	for range t.Parallel {
		all.Go(func() {
			resumed, err := visit(d, t.Addr)
			mu.Lock()
			defer mu.Unlock()
			sum.Connections++
			if resumed {
				sum.Resumed++
			}
			if err != nil {
				sum.Failed++
			}
		})
	}
	all.Wait()
	return sum
}

// visit makes a connection, has something echoed, which brings the ticket, and
// closes it.
func visit(d *resume.Dialer, addr string) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err
	}
	resumed = conn.ConnectionState().DidResume
	conn.SetDeadline(time.Now().Add(patience))
	if _, err = conn.Write([]byte("x")); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	return resumed, errors.Join(err, conn.Close())
}

// openCache is a cache over a server, as every process opens it.
func openCache(addr string, key [32]byte) (*resume.ClientCache, error) {
	if addr == "" {
		return new(resume.ClientCache), nil
	}
	store, err := openStore(addr, key)
	return &resume.ClientCache{Store: store}, err
}

func openStore(addr string, key [32]byte) (*resume.SealedStore, error) {
	client := redis.NewClient(&redis.Options{Addr: addr})
	client.Ping(background) // so that no handshake's deadline pays for the connection
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		return nil, err
	}
	keys, err := ticket.NewKeyring(key)
	if err != nil {
		return nil, err
	}
	return resume.Seal(store, keys), nil
}

// A fleet is a TLS server that counts what it is offered, and a Redis that
// client processes share, behind a proxy.
type fleet struct {
	*tlstest.Server
	ca      *tlstest.CA
	key     [32]byte
	primary *server
	network *proxy
	near    int // NearTickets of its processes
}

func newFleet(t testing.TB) *fleet {
	t.Helper()
	return newFleetOf(t, tlstest.Leaf{Names: []string{host}})
}

func newFleetOf(t testing.TB, leaf tlstest.Leaf) *fleet {
	t.Helper()
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(leaf))
	tlsServer, err := tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}})
	require.NoError(t, err)
	t.Cleanup(tlsServer.Close)
	f := &fleet{Server: tlsServer, ca: ca, key: [32]byte{1, 2, 3}, primary: startServer(t)}
	f.network = startProxy(t, f.primary.addr)
	return f
}

func (f *fleet) task(parallel, rounds int) task {
	return task{Redis: f.network.addr, Key: f.key, Addr: f.Addr, CA: string(f.ca.PEM()), Parallel: parallel, Rounds: rounds, Near: f.near}
}

// requireNoReuse holds the law of the house, from the server's side.
func (f *fleet) requireNoReuse(t testing.TB) tlstest.Counts {
	t.Helper()
	return expect.NoReuse(t, f.Identities)
}

func start(t testing.TB, work task) *process.Process[done] {
	t.Helper()
	return process.Start[done](t, asProcess, work)
}

// ended waits for a process's end and returns the sum of its rounds.
func ended(t testing.TB, p *process.Process[done]) (sum done) {
	t.Helper()
	for _, d := range p.End(t) {
		sum.Connections += d.Connections
		sum.Resumed += d.Resumed
		sum.Failed += d.Failed
	}
	return sum
}

// A process that has never seen the server resumes its first connection, with
// what another process left. On a slow machine a handshake may not have waited
// for the store; then the next process does.
func TestSecondProcessResumesItsFirstConnection(t *testing.T) {
	f := newFleet(t)
	require.Equal(t, done{Connections: 1}, ended(t, start(t, f.task(1, 1))))
	for range 3 {
		await(t, "a process that resumes its first connection", func() bool {
			got := ended(t, start(t, f.task(1, 1)))
			require.Zero(t, got.Failed)
			return got.Resumed == 1
		})
	}
	require.GreaterOrEqual(t, f.requireNoReuse(t).Offered, 3)
}

// Four processes dial 64 times each, all at once, and again.
func TestProcessesInParallelUseEachTicketOnce(t *testing.T) {
	f := newFleet(t)
	const processes, parallel, rounds = 4, 64, 2
	var all []*process.Process[done]
	for range processes {
		work := f.task(parallel, rounds)
		work.Wait = true
		p := start(t, work)
		p.Next(t) // it is ready
		all = append(all, p)
	}
	for _, p := range all {
		io.WriteString(p.In, "\n")
	}
	var resumed int
	for _, p := range all {
		got := ended(t, p)
		require.Zero(t, got.Failed)
		resumed += got.Resumed
	}
	counts := f.requireNoReuse(t)
	require.Equal(t, processes*parallel*rounds, counts.Connections)
	require.Positive(t, resumed)
	t.Logf("%d connections, %d resumed", counts.Connections, resumed)
}
