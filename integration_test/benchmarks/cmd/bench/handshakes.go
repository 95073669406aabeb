package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/peers"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
)

// A handshakeRun is what the flags of the command say.
type handshakeRun struct {
	rounds, passes         int
	server, workload, arms string
	dir                    string
	hold                   bool
	profiles               profiles
}

// A handshakeResult is what one arm did in one workload.
type handshakeResult struct {
	Bench       string  `json:"bench"` // "handshakes"
	Server      string  `json:"server"`
	Workload    string  `json:"workload"`
	Arm         string  `json:"arm"`
	Connections int     `json:"connections"` // in all passes
	Resumed     int     `json:"resumed"`     // of them
	Reused      int     `json:"reused"`      // of them, offered a ticket that was offered before: seen by the proxy
	Warming     int     `json:"warming"`     // full handshakes before them, in all passes
	Passes      int     `json:"passes"`
	CPU         float64 `json:"cpu_us"` // of the client process per connection, median of the passes
	P50         float64 `json:"p50_us"` // from the dial to the end of the handshake
	P99         float64 `json:"p99_us"`
	Allocs      float64 `json:"allocs"` // of the client process per connection, median of the passes
}

// rate is the part of the connections that was resumed.
func (r *handshakeResult) rate() float64 { return float64(r.Resumed) / float64(r.Connections) }

// rateWithWarming counts the warming handshakes, too.
func (r *handshakeResult) rateWithWarming() float64 {
	return float64(r.Resumed) / float64(r.Connections+r.Warming)
}

func (r *handshakeResult) reuse() float64 { return float64(r.Reused) / float64(r.Connections) }

func handshakesCommand(flags *flag.FlagSet) func(*report.File) error {
	var r handshakeRun
	flags.IntVar(&r.rounds, "rounds", 20, "bursts of 8 and of 64, and in proportion of the others")
	flags.IntVar(&r.passes, "passes", 3, "of each arm, each with an empty cache")
	flags.StringVar(&r.server, "server", "", "one `server` alone: go, nginx or openssl")
	flags.StringVar(&r.workload, "workload", "", "these `workloads` alone, with semicolons between")
	flags.StringVar(&r.arms, "arms", "", "these `arms` alone, with commas between")
	flags.StringVar(&r.dir, "dir", "", "`directory` for what the store keeps; empty: a temporary one")
	flags.BoolVar(&r.hold, "hold", true, "answer a burst when all of it has come; false: as fast as loopback is")
	r.profiles.flags(flags)
	return r.run
}

func (r *handshakeRun) run(results *report.File) (err error) {
	servers, err := peers.Start(serversCommandName)
	if err != nil {
		return err
	}
	defer servers.Close()
	for _, missing := range servers.Missing {
		fmt.Println("left out:", missing)
	}
	if r.dir, err = os.MkdirTemp(r.dir, "bench"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	stop, err := r.profiles.start()
	if err != nil {
		return err
	}
	defer func() { err = stop(err) }()

	fmt.Println("CPU and allocations are those of the client process, servers and proxies run in others.")
	fmt.Printf("%-8s %-15s %-16s %6s %8s %8s %7s %8s %8s %8s %7s\n", "server", "workload", "arm",
		"conns", "resumed", "reused", "warming", "cpu us", "p50 us", "p99 us", "allocs")
	var all []handshakeResult
	for _, server := range servers.Servers {
		if r.server != "" && r.server != server.Name {
			continue
		}
		got, err := r.against(servers, server, results)
		if err != nil {
			return err
		}
		all = append(all, got...)
	}
	fmt.Println()
	printVerdicts(os.Stdout, handshakeVerdicts(all))
	return nil
}

func (r *handshakeRun) against(servers *peers.Peers, server peers.Server, results *report.File) (all []handshakeResult, err error) {
	for _, w := range planned(r.rounds) {
		if r.workload != "" && !slices.Contains(strings.Split(r.workload, ";"), w.name) {
			continue
		}
		got, err := r.measure(servers, server, &w)
		if err != nil {
			return nil, fmt.Errorf("%s on %s: %w", w.name, server.Name, err)
		}
		for _, result := range got {
			fmt.Printf("%-8s %-15s %-16s %6d %7.1f%% %7.1f%% %7d %8.0f %8.0f %8.0f %7.0f\n",
				result.Server, result.Workload, result.Arm, result.Connections, 100*result.rate(), 100*result.reuse(),
				result.Warming, result.CPU, result.P50, result.P99, result.Allocs)
			if err := results.Write(result); err != nil {
				return nil, err
			}
		}
		all = append(all, got...)
	}
	return all, nil
}

// measure lets the arms take turns, so that all saw the same machine. Each
// round of turns begins with another arm.
func (r *handshakeRun) measure(servers *peers.Peers, server peers.Server, w *workload) (results []handshakeResult, err error) {
	var turns []*turn
	for _, arm := range clients.All {
		if r.arms != "" && !slices.Contains(strings.Split(r.arms, ","), arm.Name) || w.warm > 0 && !arm.Ours {
			continue
		}
		turns = append(turns, &turn{arm: arm, servers: servers, server: server, workload: w, hold: r.hold})
	}
	for pass := range r.passes {
		for i := range turns {
			t := turns[(pass+i)%len(turns)]
			dir, err := os.MkdirTemp(r.dir, "store")
			if err != nil {
				return nil, err
			}
			if err := t.pass(context.Background(), dir); err != nil {
				return nil, fmt.Errorf("%s: %w", t.arm.Name, err)
			}
		}
	}
	for _, t := range turns {
		if result, ok := t.result(); ok {
			results = append(results, result)
		}
	}
	return results, nil
}
