package main

import (
	"context"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/peers"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
	"github.com/tlsresume/tlsresume/internal/cputime"
)

// patience bounds one connection.
const patience = 30 * time.Second

// A turn is an arm and what its passes through a workload showed.
type turn struct {
	arm      clients.Arm
	servers  *peers.Peers
	server   peers.Server
	workload *workload
	hold     bool // answers, until all of a burst have come

	resumed, reused, warming, passes int
	cpu, allocs                      []float64
	took                             []time.Duration // of every dial

	mu sync.Mutex // guards took and resumed during a burst
}

// pass goes through the workload once, with an empty cache.
func (t *turn) pass(ctx context.Context, dir string) error {
	client, err := t.arm.New(t.servers.Config, dir)
	if err != nil {
		return err
	}
	defer client.Close()
	if t.workload.warm > 0 && client.Warm == nil {
		return nil // it has no such thing
	}
	if err := t.servers.Reset(t.server.Name); err != nil {
		return err
	}
	if err := t.warm(ctx, client); err != nil {
		return err
	}
	runtime.GC() // let nobody pay for another's garbage
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cputime.Process()
	made := 0
	for _, n := range t.workload.bursts {
		if err := t.burst(ctx, client, n, made); err != nil {
			return err
		}
		made += n
	}
	cpu = cputime.Process() - cpu
	runtime.ReadMemStats(&after)
	counts, err := t.servers.Counts(t.server.Name)
	if err != nil {
		return err
	}
	t.passes++
	t.reused += counts.Reused
	t.cpu = append(t.cpu, float64(cpu.Nanoseconds())/1e3/float64(made))
	t.allocs = append(t.allocs, float64(after.Mallocs-before.Mallocs)/float64(made))
	return nil
}

// warm brings the server to as many sessions as the workload begins with, and
// counts where the server does what that took.
func (t *turn) warm(ctx context.Context, client *clients.Client) error {
	if t.workload.warm == 0 {
		return nil
	}
	if _, err := client.Warm(ctx, t.server.Addr, t.workload.warm); err != nil {
		return err
	}
	counts, err := t.servers.Counts(t.server.Name)
	t.warming += counts.Connections
	return err
}

// burst makes n connections at a time.
func (t *turn) burst(ctx context.Context, client *clients.Client, n, made int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if n > 1 && t.hold {
		if err := t.servers.Expect(t.server.Name, n); err != nil {
			return err
		}
	}
	var all errgroup.Group
	for i := range n {
		unread := t.workload.unread > 0 && (made+i)%t.workload.unread == t.workload.unread-1
		all.Go(func() error {
			err := t.connect(ctx, client, unread)
			if err != nil {
				cancel() // the server would hold the others back for it
			}
			return err
		})
	}
	return all.Wait()
}

// connect makes one connection, sends the request, reads the answer, which
// brings the tickets, and closes; or closes before it has read anything.
func (t *turn) connect(ctx context.Context, client *clients.Client, unread bool) error {
	began := time.Now()
	conn, err := client.Dial(ctx, t.server.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	t.dialed(time.Since(began), conn.ConnectionState().DidResume)
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, peers.Request); err != nil {
		return err
	}
	if unread {
		return nil
	}
	var answer [peers.AnswerSize]byte
	_, err = io.ReadFull(conn, answer[:])
	return err
}

func (t *turn) dialed(took time.Duration, resumed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took)
	if resumed {
		t.resumed++
	}
}

// result is of all passes; not ok if there was none.
func (t *turn) result() (r handshakeResult, ok bool) {
	if t.passes == 0 {
		return r, false
	}
	slices.Sort(t.took)
	quantile := func(percent int) float64 {
		return float64(t.took[(len(t.took)-1)*percent/100].Nanoseconds()) / 1e3
	}
	return handshakeResult{
		Bench: "handshakes", Server: t.server.Name, Workload: t.workload.name, Arm: t.arm.Name,
		Connections: len(t.took), Resumed: t.resumed, Reused: t.reused, Warming: t.warming, Passes: t.passes,
		CPU: report.Median(t.cpu), P50: quantile(50), P99: quantile(99), Allocs: report.Median(t.allocs),
	}, true
}
