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
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

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
		fmt.Println("usage: resumedemo [-json]\n       resumedemo dial [flags] host:port")
		return nil
	} else if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unknown command %q; try resumedemo -h", errUsage, flags.Arg(0))
	}
	s, err := startServers()
	if err != nil {
		return err
	}
	defer s.stop()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CA))
	config := &tls.Config{RootCAs: roots}
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

// plan makes long runs of the large bursts: the first burst of a run is cold,
// and there a ticket used twice wins over one used once.
func plan(servers []target) (planned []workload) {
	for i, server := range servers {
		for _, parallel := range []int{1, 8, 64} {
			rounds := map[int]int{1: 20, 8: 40, 64: 60}[parallel]
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

func compare(s *servers, config *tls.Config) (*report, error) {
	r := &report{Workloads: plan(s.Servers)}
	// What a process does once, at its first handshake, is in nobody's count.
	if err := (&standard{config: config}).dial(s.Servers[0].Addr).err; err != nil {
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
	began := processCPU()
	var resumed atomic.Int64
	for range w.rounds {
		var burst errgroup.Group
		for range w.parallel {
			burst.Go(func() error {
				d := c.dial(w.addr)
				if d.resumed {
					resumed.Add(1)
				}
				return d.err
			})
		}
		if err := burst.Wait(); err != nil {
			return result{}, fmt.Errorf("%s on %s: %w", w.Name, w.Server, err)
		}
	}
	n := w.parallel * w.rounds
	return result{
		Cache: c.name(), Connections: n, Resumed: int(resumed.Load()), Captured: c.captured(),
		CPU: float64((processCPU() - began).Nanoseconds()) / 1000 / float64(n),
	}, nil
}

// A client is a way to dial: the standard library's cache, or this layer.
type client interface {
	name() string
	dial(addr string) dialed
	captured() int
}

type dialed struct {
	resumed bool
	err     error
}

// standard is tls.Dialer with the standard library's cache.
type standard struct {
	config *tls.Config
	puts   atomic.Int64
	tls.ClientSessionCache
}

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

func (s *standard) name() string  { return "standard" }
func (s *standard) captured() int { return int(s.puts.Load()) }

func (s *standard) dial(addr string) dialed {
	conn, err := (&tls.Dialer{Config: s.config}).Dial("tcp", addr)
	if err != nil {
		return dialed{err: err}
	}
	return exchange(conn, conn.(*tls.Conn).ConnectionState())
}

// layer is resume.Dialer.
type layer struct {
	cache  resume.ClientCache
	dialer *resume.Dialer
}

func newLayer(config *tls.Config) client {
	l := new(layer)
	l.dialer = &resume.Dialer{Scope: l.cache.NewScope(), Config: config}
	return l
}

func (l *layer) name() string  { return "tlsresume" }
func (l *layer) captured() int { return int(l.cache.Stats().Captured) }

func (l *layer) dial(addr string) dialed {
	conn, err := l.dialer.Dial("tcp", addr)
	if err != nil {
		return dialed{err: err}
	}
	return exchange(conn, conn.ConnectionState())
}

// exchange sends a line and reads the answer, which brings the tickets.
func exchange(conn net.Conn, state tls.ConnectionState) dialed {
	defer conn.Close()
	line := []byte("hello\n")
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(line); err != nil {
		return dialed{err: err}
	}
	_, err := io.ReadFull(conn, line)
	return dialed{resumed: state.DidResume, err: err}
}

func (r *report) print(out io.Writer) {
	fmt.Fprintln(out, "The same bursts of connections through two session caches. What was offered twice is what the server saw.")
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
