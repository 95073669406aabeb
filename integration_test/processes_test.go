package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

var kills = flag.Int("kills", 200, "how many processes to kill in TestKilledProcesses...")

// asProcess makes the test binary a client process. Its value is a task.
const asProcess = "TLSRESUME_TEST_PROCESS"

func TestMain(m *testing.M) {
	process.As(asProcess, func(t *task, in io.Reader, out io.Writer) error {
		if t.Ahead != 0 {
			t.byItsClock(m)
		}
		return t.run(in, out)
	})
	process.As(asServerProcess, (*serving).serve)
	process.As(asServer, (*post).serve)
	os.Exit(m.Run())
}

// A task is what a client process does: connections to a server, with what a
// directory keeps.
type task struct {
	Dir      string
	Key      [32]byte
	Addr     string
	CA       string
	Parallel int
	Rounds   int // 0: until it is killed
	Unread   bool
	Wait     bool // for a line on standard input, before the first
	Ready    bool // only take a session, and tell how long that took

	Near  int           // ClientCache.NearTickets
	Ahead time.Duration // of the process's clock
}

// A done is what it prints of each round.
type done struct {
	Resumed int
	Failed  int
	Slow    uint64 // Stats.StoreErrors: handshakes that did not wait for the store, too
	Ready   time.Duration
}

func (t *task) run(in io.Reader, out io.Writer) error {
	began := time.Now()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(t.CA))
	if t.Ready {
		return t.ready(began, out)
	}
	c, err := openCache(t.Dir, t.Key)
	if err != nil {
		return err
	}
	c.NearTickets = t.Near
	e := dialed(c.Scope("tenant"), &tls.Config{RootCAs: roots, ServerName: host, CurvePreferences: []tls.CurveID{tls.CurveP256}})
	if t.Wait {
		fmt.Fprintln(out, "{}")
		if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
			return err
		}
	}
	for n := 0; t.Rounds == 0 || n < t.Rounds; n++ {
		d := t.round(e)
		d.Slow = c.Stats().StoreErrors
		if err := json.NewEncoder(out).Encode(d); err != nil {
			return err
		}
	}
	return c.Close()
}

// ready takes one session as a handshake would.
func (t *task) ready(began time.Time, out io.Writer) error {
	c := new(resume.ClientCache)
	if t.Dir != "" {
		var err error
		if c, err = openCache(t.Dir, t.Key); err != nil {
			return err
		}
	}
	d := done{}
	if _, ok := c.Scope("tenant").Get(host); ok {
		d.Resumed = 1
	}
	d.Ready = time.Since(began)
	return json.NewEncoder(out).Encode(d)
}

func (t *task) round(e entry) done {
	var all errgroup.Group
	var resumed, failed atomic.Int64
	for range t.Parallel {
		all.Go(func() error {
			ok, err := t.connection(e)
			if err != nil {
				failed.Add(1)
			}
			if ok {
				resumed.Add(1)
			}
			return nil
		})
	}
	all.Wait()
	return done{Resumed: int(resumed.Load()), Failed: int(failed.Load())}
}

func (t *task) connection(e entry) (resumed bool, err error) {
	if !t.Unread {
		return e.visit(t.Addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := e.dial(ctx, t.Addr)
	if err != nil {
		return false, err
	}
	resumed = conn.ConnectionState().DidResume
	conn.NetConn().Close() // brings no ticket that outlives it
	conn.Close()
	return resumed, nil
}

// openCache is a cache over a directory, as every process opens it.
func openCache(dir string, key [32]byte) (*resume.ClientCache, error) {
	store, err := openStore(dir, key)
	return &resume.ClientCache{Store: store}, err
}

func openStore(dir string, key [32]byte) (*resume.SealedStore, error) {
	store, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		return nil, err
	}
	keys, err := ticket.NewKeyring(key)
	if err != nil {
		return nil, err
	}
	return resume.Seal(store, keys), nil
}

// A stable is a server and a directory that client processes share.
type stable struct {
	*site
	dir string
	key [32]byte
}

func newStable(t testing.TB) *stable {
	s := newSite(t, setup{server: func(c *tls.Config) {
		newKeys(c)
		afterwards(c) // or an unread connection has its ticket in crypto/tls's buffer
	}})
	return &stable{site: s, dir: filepath.Join(t.TempDir(), "sessions"), key: [32]byte{1, 2, 3}}
}

func (s *stable) task(parallel, rounds int) task {
	return task{Dir: s.dir, Key: s.key, Addr: s.Addr, CA: string(s.ca.PEM()), Parallel: parallel, Rounds: rounds}
}

// cache is one in this process, closed with the test.
func (s *stable) cache(t testing.TB) *resume.ClientCache {
	t.Helper()
	c, err := openCache(s.dir, s.key)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// stock brings n tickets into the directory.
func (s *stable) stock(t testing.TB, n int) {
	t.Helper()
	c := s.cache(t)
	e := dialed(c.Scope("tenant"), s.with(onlyP256))
	var conns []client
	for range n {
		conns = append(conns, e.connect(t, s.Addr))
	}
	for _, conn := range conns {
		require.NoError(t, talk(conn))
		require.NoError(t, conn.Close())
	}
	require.NoError(t, c.Flush(t.Context()))
	require.EqualValues(t, n, c.Stats().Stored)
}

// plug brings one ticket into the directory as a plugged scope would.
func (s *stable) plug(t testing.TB) {
	t.Helper()
	c := s.cache(t)
	scope := c.Scope("tenant")
	_, err := plugged(s.with(onlyP256), scope, scope).visit(s.Addr)
	require.NoError(t, err)
	require.NoError(t, c.Flush(t.Context()))
}

func (s *stable) start(t testing.TB, work task) *process.Process[done] {
	t.Helper()
	return process.Start[done](t, asProcess, work)
}

// ended waits for a process's end and returns the sum of its rounds.
func ended(t testing.TB, p *process.Process[done]) (sum done) {
	t.Helper()
	for _, d := range p.End(t) {
		sum.Resumed += d.Resumed
		sum.Failed += d.Failed
		sum.Slow = d.Slow
	}
	return sum
}

func TestTheSecondRunOfAProgramResumes(t *testing.T) {
	s := newStable(t)
	resumed := 0
	for run := range 4 {
		got := ended(t, s.start(t, s.task(1, 1)))
		require.Zero(t, got.Failed)
		resumed += got.Resumed
		if got.Slow == 0 { // the machine let it answer in time
			require.Equal(t, min(run, 1), got.Resumed, "run %d", run+1)
		}
	}
	require.Positive(t, resumed)
	require.Equal(t, resumed, requireNoReuse(t, s.Identities).Offered)
}

// Eight processes take from one directory at the same time, as many tickets as
// there are: each is offered once, and none is lost.
func TestProcessesUseEachTicketOfADirectoryOnce(t *testing.T) {
	const processes, tickets = 8, 64
	s := newStable(t)
	s.stock(t, tickets)
	before := s.Identities.Counts()
	var all []*process.Process[done]
	for range processes {
		work := s.task(tickets/processes, 1)
		work.Unread, work.Wait = true, true
		p := s.start(t, work)
		p.Next(t) // it is ready
		all = append(all, p)
	}
	for _, p := range all {
		io.WriteString(p.In, "\n")
	}
	resumed := 0
	for _, p := range all {
		got := ended(t, p)
		require.Zero(t, got.Failed)
		resumed += got.Resumed
	}
	require.Positive(t, resumed)
	require.Equal(t, tickets, resumed+s.useUp(t))
	require.Equal(t, tickets, requireNoReuse(t, s.Identities).Offered-before.Offered)
}

// useUp resumes with what is left, and says how much that was. On a slow machine
// a handshake may not have waited for the store. What was taken for it was put
// back: it is there, and good. So it may be here, too.
func (s *stable) useUp(t testing.TB) (resumed int) {
	t.Helper()
	for tries := 0; s.left(t) > 0; tries++ {
		require.Less(t, tries, 1000)
		c := s.cache(t)
		if dialed(c.Scope("tenant"), s.with(onlyP256)).glance(t, s.Addr) {
			resumed++
		}
		require.NoError(t, c.Close()) // puts back what came too late
	}
	return resumed
}

// Two processes, one ticket, again and again.
func TestOneOfTwoProcessesGetsATicket(t *testing.T) {
	s := newStable(t)
	const rounds = 8
	for round := range rounds {
		s.stock(t, 1)
		var pair []*process.Process[done]
		for range 2 {
			work := s.task(1, 1)
			work.Unread, work.Wait = true, true
			p := s.start(t, work)
			p.Next(t)
			pair = append(pair, p)
		}
		for _, p := range pair {
			io.WriteString(p.In, "\n")
		}
		resumed := ended(t, pair[0]).Resumed + ended(t, pair[1]).Resumed
		require.Equal(t, 1, resumed+s.useUp(t), "round %d", round)
	}
	require.Equal(t, rounds, requireNoReuse(t, s.Identities).Offered)
}

// Processes are killed at random moments of taking, offering, receiving and
// storing tickets. What they had in hand may be lost. Nothing is offered twice,
// what is left can be read, and a sweep leaves no half-written file.
func TestKilledProcessesCostTicketsAndNoSecondUse(t *testing.T) {
	s := newStable(t)
	const together = 4
	var killed atomic.Int64
	var resumed atomic.Int64
	var all sync.WaitGroup
	for n := range together {
		random := rand.New(rand.NewPCG(uint64(n), 15))
		all.Go(func() {
			for killed.Add(1) <= int64(*kills) {
				work := s.task(4, 0)
				work.Near = n % 2 * 2 // tickets in the hands of the dead
				p := s.start(t, work)
				for range 1 + random.IntN(2) {
					d := p.Next(t)
					resumed.Add(int64(d.Resumed))
					assert.Zero(t, d.Failed)
				}
				time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond) // a real process goes on
				p.Kill()
			}
		})
	}
	all.Wait()
	counts := requireNoReuse(t, s.Identities)
	t.Logf("%d connections of %d killed processes, %d offered a ticket", counts.Connections, *kills, counts.Offered)
	require.Positive(t, resumed.Load())

	// Whatever is left opens, and is good for a connection.
	c := s.cache(t)
	e := dialed(c.Scope("tenant"), s.with(onlyP256))
	for s.left(t) > 0 {
		e.resumed(t, s.Addr)
		scope := c.Scope("tenant")
		c.Remove(scope.Get0Session(e.key(s.Addr))) // what that brought
	}
	require.Zero(t, c.Stats().Unreadable)
	requireNoReuse(t, s.Identities)
	s.requireSwept(t)
}

// requireSwept holds that a sweep leaves no half-written file, when those who
// wrote them are known to be dead.
func (s *stable) requireSwept(t testing.TB) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	halves := func(visit func(path string)) {
		require.NoError(t, filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".tmp") {
				visit(path)
			}
			return err
		}))
	}
	found := 0
	halves(func(path string) {
		found++
		require.NoError(t, os.Chtimes(path, old, old))
	})
	t.Logf("%d half-written files", found)
	store, err := dirstore.Open(s.dir, dirstore.Options{})
	require.NoError(t, err)
	_, err = store.Sweep(t.Context())
	require.NoError(t, err)
	halves(func(path string) { t.Errorf("%s is left", path) })
}

// left is how many entries the directory has.
func (s *stable) left(t testing.TB) (n int) {
	t.Helper()
	store, err := dirstore.Open(s.dir, dirstore.Options{})
	require.NoError(t, err)
	for _, err := range store.List(t.Context()) {
		require.NoError(t, err)
		n++
	}
	return n
}

// A stolen directory tells nobody a host, a ticket or a key. The threat model
// says what it does tell.
func TestADirectoryHoldsNoNameTicketOrKey(t *testing.T) {
	s := newStable(t)
	s.stock(t, 3)
	conn := dialed(s.cache(t).Scope("tenant"), s.with(onlyP256)).connect(t, s.Addr).(*resume.Conn)
	id := conn.Get0Session().Info().ID
	require.NotEmpty(t, id)
	_, port := splitAddr(t, s.Addr)
	var files int
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		// The last is how a certificate begins each part of a name. Nothing here
		// is so short that what is sealed has it by chance.
		for _, secret := range []string{host, "tenant", port, "127.0.0.1", string(s.key[:8]), id, "\x06\x03\x55\x04"} {
			require.NotContains(t, string(text), secret, path)
			require.NotContains(t, strings.TrimPrefix(path, s.dir), secret)
		}
		return nil
	}))
	require.Positive(t, files)
}

// A flipped byte costs its ticket at most.
func TestADamagedFileCostsItsTicketAtMost(t *testing.T) {
	s := newStable(t)
	const tickets = 8
	s.stock(t, tickets)
	var paths []string
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	require.Len(t, paths, tickets)
	for n, path := range paths[:tickets/2] {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		data[n*(len(data)-1)/(tickets/2-1)] ^= 1 // from the first byte to the last
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	c := s.cache(t)
	e := dialed(c.Scope("tenant"), s.with(onlyP256))
	for range tickets / 2 {
		require.True(t, e.glance(t, s.Addr))
	}
	require.False(t, e.glance(t, s.Addr))
	require.Equal(t, tickets/2, requireNoReuse(t, s.Identities).Offered)
}

// On a full disk sessions stay in memory, where they are used, until there is
// room again.
func TestAFullDiskCostsNoResumption(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root on Linux can mount a small file system")
	}
	s := newStable(t)
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", disk).Run() })
	s.dir = filepath.Join(disk, "sessions")
	require.NoError(t, os.Mkdir(s.dir, 0o700))
	ballast := filepath.Join(disk, "ballast")
	err := os.WriteFile(ballast, make([]byte, 128<<10), 0o600)
	require.ErrorIs(t, err, syscall.ENOSPC)

	store, err := openStore(s.dir, s.key)
	require.NoError(t, err)
	c, heard := listen(t, &resume.ClientCache{Store: store})
	t.Cleanup(func() { c.Close() })
	e := dialed(c.Scope("tenant"), s.with(onlyP256))
	e.full(t, s.Addr)
	require.ErrorIs(t, c.Flush(t.Context()), syscall.ENOSPC)
	for range 3 {
		e.resumed(t, s.Addr)
		require.Error(t, c.Flush(t.Context()))
	}
	require.Eventually(t, func() bool { return heard.count(resume.StoreFailed) > 0 }, patience, time.Millisecond, "it is told in the background")

	require.NoError(t, os.Remove(ballast))
	require.NoError(t, c.Flush(t.Context()))
	require.Equal(t, 1, s.left(t))
	dialed(s.cache(t).Scope("tenant"), s.with(onlyP256)).resumed(t, s.Addr)
	requireNoReuse(t, s.Identities)
}

// microseconds is the median.
func microseconds(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Nanoseconds()) / 1000
}

// BenchmarkStart is how long a program takes to a session in hand: the roots it
// trusts, the key, the directory, one take, one record opened. Beside it is how
// long the same program takes until its cache in memory says that there is
// none. Processes of both kinds take turns; "from exec" begins with the other's
// fork.
func BenchmarkStart(b *testing.B) {
	s := newStable(b)
	var spent, whole [2][]time.Duration
	for b.Loop() {
		s.plug(b)
		for arm, dir := range []string{"", s.dir} {
			work := s.task(0, 0)
			work.Dir, work.Ready = dir, true
			began := time.Now()
			p := s.start(b, work)
			d := p.Next(b)
			whole[arm] = append(whole[arm], time.Since(began))
			p.End(b)
			require.Equal(b, arm, d.Resumed)
			spent[arm] = append(spent[arm], d.Ready)
		}
	}
	for arm, name := range []string{"memory", "dirstore"} {
		b.ReportMetric(microseconds(spent[arm]), name+"-us")
		b.ReportMetric(microseconds(whole[arm]), name+"-from-exec-us")
	}
	b.ReportMetric(0, "ns/op")
}
