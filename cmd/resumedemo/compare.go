package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/cputime"
	"github.com/tlsresume/tlsresume/internal/demo"
)

// dialTimeout is far beyond what anything takes on loopback: it is there so that
// the program ends.
const dialTimeout = 10 * time.Second

// synopsis is what -h says of the whole program, before the flags of this command.
const synopsis = `[-json]
           the same connections through the standard cache and this one
       resumedemo dial [flags] host:port
           dial a TLS server and say what resumed
       resumedemo sessions list|show|clear -store DIR [flags] [ID]
           what a directory keeps for dial or serve
       resumedemo serve [flags]
           a server that says what becomes of sessions
Each command has -h.`

// A workload is so many bursts to one server, with each of the two caches.
type workload struct {
	Name    string   `json:"name"`
	Server  string   `json:"server"`
	Results []result `json:"results"` // the standard cache's, then this layer's

	parallel, rounds int // connections of a burst, and bursts
	addr             string
}

// compareCommand is the program without a command: both caches side by side,
// then the life of one session.
func compareCommand(args []string) error {
	flags := flag.NewFlagSet("resumedemo", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON object")
	if goOn, err := demo.Parse(flags, synopsis, args); !goOn {
		return err
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
		if err := json.NewEncoder(demo.Stdout).Encode(found); err != nil {
			return err
		}
		return found.verdict()
	}
	found.print(demo.Stdout)
	if err := life(demo.Stdout, s.Servers[0].Addr, config); err != nil {
		return err
	}
	return found.verdict()
}

// plan makes the bursts of every server: a client that dials one by one, a
// small pool and a large one. The first burst of each run is cold: no session
// is there yet, in either cache. Few connections at a time need few rounds.
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

// progress writes over one line of a terminal, and nothing anywhere else.
func progress(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}
