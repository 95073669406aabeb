package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/cputime"
	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/resume"
)

const dialTimeout = 10 * time.Second

const usage = `usage: resumedemo [-json]
           the same connections through the standard cache and this one
       resumedemo dial [flags] host:port
           dial a TLS server and say what resumed
       resumedemo sessions list|show|clear -store DIR [flags] [ID]
           what a directory keeps for dial or serve
       resumedemo serve [flags]
           a server that says what becomes of sessions
Each command has -h.
`

type report struct {
	Workloads []workload `json:"workloads"`
}

type workload struct {
	Name    string   `json:"name"`
	Server  string   `json:"server"`
	Results []result `json:"results"`

	parallel, rounds int
	addr             string
}

type result struct {
	Cache       string  `json:"cache"`
	Connections int     `json:"connections"`
	Resumed     int     `json:"resumed"`
	Reused      int     `json:"reused"`
	Captured    int     `json:"captured"`
	CPU         float64 `json:"cpu_us"` // per connection, of this process
}

func compareCommand(args []string) error {
	flags := flag.NewFlagSet("resumedemo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	asJSON := flags.Bool("json", false, "print one JSON object")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
		return nil
	} else if err != nil {
		return fmt.Errorf("%w: %w", demo.ErrUsage, err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unknown command %q; try resumedemo -h", demo.ErrUsage, flags.Arg(0))
	}
	s, err := startServers()
	if err != nil {
		return err
	}
	defer s.stop()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CA))
	config := &tls.Config{RootCAs: roots, ServerName: serverName}
	found, err := compare(s, config)
	if err != nil {
		return err
	}
	if *asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
			return err
		}
		return found.verdict()
	}
	found.print(os.Stdout)
	if err := life(os.Stdout, s.Servers[0].Addr, config); err != nil {
		return err
	}
	return found.verdict()
}

// verdict fails the program if this layer let one ticket out twice.
func (r *report) verdict() error {
	for _, w := range r.Workloads {
		if n := w.Results[1].Reused; n > 0 {
			return fmt.Errorf("%s on %s: %d connections offered a ticket that was used before", w.Name, w.Server, n)
		}
	}
	return nil
}

// plan makes the bursts of every server. The first of each run is cold: no
// session is there yet, in either cache.
func plan(servers []target) (planned []workload) {
	for i, server := range servers {
		for _, parallel := range []int{1, 8, 64} {
			rounds := map[int]int{1: 20, 8: 40, 64: 40}[parallel]
			if i > 0 { // s_server serves one connection after the other
				rounds = 20
			}
			planned = append(planned, workload{
				Name: fmt.Sprintf("%d parallel x %d", parallel, rounds), Server: server.Name,
				parallel: parallel, rounds: rounds, addr: server.Addr,
			})
		}
	}
	return planned
}

// compare runs each workload twice in a row, so that both caches meet a server,
// and a machine, in the same state.
func compare(s *servers, config *tls.Config) (*report, error) {
	r := &report{Workloads: plan(s.Servers)}
	// What a process does once, at its first handshake, is in nobody's count.
	warming := workload{parallel: 1, rounds: 1, addr: s.Servers[0].Addr}
	if _, err := warming.measure(newStandard(config)); err != nil {
		return nil, err
	}
	for i := range r.Workloads {
		w := &r.Workloads[i]
		progress("%s on %s", w.Name, w.Server)
		for _, make := range []func(*tls.Config) client{newStandard, newLayer} {
			if _, err := s.ask("reset", w.Server); err != nil {
				return nil, err
			}
			got, err := w.measure(make(config))
			if err != nil {
				return nil, err
			}
			counts, err := s.ask("counts", w.Server)
			if err != nil {
				return nil, err
			}
			got.Reused = counts.Reused
			w.Results = append(w.Results, got)
		}
	}
	progress("")
	return r, nil
}

// measure runs the bursts, one after the other.
func (w *workload) measure(c client) (result, error) {
	began := cputime.Process()
	var resumed atomic.Int64
	for range w.rounds {
		n, err := w.burst(c)
		if err != nil {
			return result{}, fmt.Errorf("%s on %s: %w", w.Name, w.Server, err)
		}
		resumed.Add(int64(n))
	}
	n := w.parallel * w.rounds
	return result{
		Cache: c.name(), Connections: n, Resumed: int(resumed.Load()), Captured: c.captured(),
		CPU: float64((cputime.Process() - began).Nanoseconds()) / 1000 / float64(n),
	}, nil
}

// burst connects to the server as often as the workload says and sends all
// ClientHellos at once. On loopback the first ticket would otherwise be there
// before the last handshake has begun, which no network is fast enough for.
func (w *workload) burst(c client) (resumed int, err error) {
	raws := make([]net.Conn, w.parallel)
	defer func() {
		for _, raw := range raws {
			if raw != nil {
				raw.Close()
			}
		}
	}()
	for i := range raws {
		if raws[i], err = net.DialTimeout("tcp", w.addr, dialTimeout); err != nil {
			return 0, err
		}
	}
	var all errgroup.Group
	var did atomic.Int64
	var hellos sync.WaitGroup
	hellos.Add(len(raws))
	for _, raw := range raws {
		gated := &gate{Conn: raw, all: &hellos}
		all.Go(func() error {
			defer gated.arrive()
			conn := c.client(gated)
			if err := exchange(conn); err != nil {
				return err
			}
			if conn.ConnectionState().DidResume {
				did.Add(1)
			}
			return nil
		})
	}
	err = all.Wait()
	return int(did.Load()), err
}

// A gate holds its connection's first flight back until all are ready.
type gate struct {
	net.Conn
	all  *sync.WaitGroup
	once sync.Once
}

func (g *gate) arrive() { g.once.Do(g.all.Done) }

func (g *gate) Write(b []byte) (int, error) {
	g.arrive()
	g.all.Wait()
	return g.Conn.Write(b)
}

// A client makes TLS connections with a session cache: the standard library's,
// or this layer.
type client interface {
	name() string
	client(raw net.Conn) tlsConn
	captured() int
}

// A tlsConn is what a *tls.Conn and a *resume.Conn have in common.
type tlsConn interface {
	net.Conn
	ConnectionState() tls.ConnectionState
}

// standard is crypto/tls with the standard library's cache.
type standard struct {
	config *tls.Config
	puts   atomic.Int64
	tls.ClientSessionCache
}

// newStandard has 64 sessions, as a zero capacity means.
func newStandard(config *tls.Config) client {
	s := &standard{config: config.Clone(), ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	s.config.ClientSessionCache = s
	return s
}

// Put counts, on its way into the standard cache.
func (s *standard) Put(key string, cs *tls.ClientSessionState) {
	if cs != nil {
		s.puts.Add(1)
	}
	s.ClientSessionCache.Put(key, cs)
}

func (s *standard) name() string                { return "standard" }
func (s *standard) captured() int               { return int(s.puts.Load()) }
func (s *standard) client(raw net.Conn) tlsConn { return tls.Client(raw, s.config) }

// layer is Scope.NewConn.
type layer struct {
	cache  resume.ClientCache
	scope  *resume.Scope
	config *tls.Config
}

func newLayer(config *tls.Config) client {
	l := &layer{config: config}
	l.scope = l.cache.NewScope()
	return l
}

func (l *layer) name() string                { return "tlsresume" }
func (l *layer) captured() int               { return int(l.cache.Stats().Captured) }
func (l *layer) client(raw net.Conn) tlsConn { return l.scope.NewConn(raw, l.config) }

// exchange sends a line, reads the answer, which brings the tickets, and
// closes the connection.
func exchange(conn net.Conn) error {
	defer conn.Close()
	line := []byte("hello\n")
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := conn.Write(line); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, line)
	return err
}

func (r *report) print(out io.Writer) {
	fmt.Fprintln(out, "The same bursts of connections through two session caches. A burst sends all its ClientHellos at once;\nthe first of each run is cold. What was offered twice is what the server saw.")
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "server\tworkload\tcache\tconnections\tresumed\toffered a used ticket\ttickets captured\tclient CPU\t")
	var offered [2]int
	var all, resumed [2]int
	for _, w := range r.Workloads {
		for i, x := range w.Results {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%.0f us\t\n", w.Server, w.Name, x.Cache,
				x.Connections, percent(x.Resumed, x.Connections), percent(x.Reused, x.Connections), x.Captured, x.CPU)
			offered[i] += x.Reused
			resumed[i] += x.Resumed
			all[i] += x.Connections
		}
	}
	table.Flush()
	fmt.Fprintf(out, "\nStandard: %s resumed, %d of %d connections offered a used ticket. tlsresume: %s resumed, %d of %d.\n",
		percent(resumed[0], all[0]), offered[0], all[0], percent(resumed[1], all[1]), offered[1], all[1])
	fmt.Fprint(out, "Over TCP, resumption saves CPU and bytes, not a round trip.\n\n")
}

func percent(n, of int) string { return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(of)) }

// progress writes over one line of a terminal, and nothing anywhere else.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}
