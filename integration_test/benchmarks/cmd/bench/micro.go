package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/inmemory"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// A microRun is what the flags of the command say.
type microRun struct {
	passes  int
	time    time.Duration
	pairs   int
	dir     string
	results *report.File
}

// A microResult is one operation: the median of the passes, for a store the
// median of the calls.
type microResult struct {
	Bench  string  `json:"bench"` // "micro"
	Name   string  `json:"name"`
	Ns     float64 `json:"ns"`
	P99    float64 `json:"p99_ns,omitempty"` // of a store's calls
	Allocs float64 `json:"allocs"`
}

// plainSize is the size of a session with a small chain, in bytes.
const plainSize = 2048

func microCommand(flags *flag.FlagSet) func(*report.File) error {
	var r microRun
	flags.IntVar(&r.passes, "passes", 7, "of which the median is taken")
	flags.DurationVar(&r.time, "time", 20*time.Millisecond, "of a pass")
	flags.IntVar(&r.pairs, "pairs", 2000, "takes and puts of the store")
	flags.StringVar(&r.dir, "dir", "", "`directory` for the store; empty: a temporary one")
	return func(results *report.File) error {
		r.results = results
		return r.run()
	}
}

func (r *microRun) run() error {
	cs, err := receive()
	if err != nil {
		return err
	}
	fmt.Printf("%-32s %10s %10s %8s\n", "operation", "ns", "p99 ns", "allocs")
	for _, part := range []func(*tls.ClientSessionState) error{r.caches, r.records, r.seals} {
		if err := part(cs); err != nil {
			return err
		}
	}
	for _, files := range []int{8, 64} {
		if err := r.store(files); err != nil {
			return err
		}
	}
	return nil
}

// A keeper keeps the last session that was put.
type keeper struct{ last *tls.ClientSessionState }

func (k *keeper) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (k *keeper) Put(_ string, cs *tls.ClientSessionState)   { k.last = cs }

// receive is a session of a server with a small certificate.
func receive() (*tls.ClientSessionState, error) {
	server, err := inmemory.NewServer()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	config, kept := server.Config.Clone(), new(keeper)
	config.ClientSessionCache = kept
	conn := tls.Client(server.Dial(), config)
	defer conn.Close()
	b := [1]byte{1}
	if _, err := conn.Write(b[:]); err != nil {
		return nil, err
	}
	if _, err := conn.Read(b[:]); err != nil {
		return nil, err
	}
	if kept.last == nil {
		return nil, errors.New("bench: no session came")
	}
	return kept.last, nil
}

// caches puts a session and gets it. A session of ours can be put once: the
// mark is taken off each time.
func (r *microRun) caches(cs *tls.ClientSessionState) error {
	_, state, err := cs.ResumptionState()
	if err != nil {
		return err
	}
	const key = "server.test"
	for _, c := range []struct {
		name  string
		cache tls.ClientSessionCache
	}{{"standard LRU put+get", tls.NewLRUClientSessionCache(0)}, {"plugged put+get", new(resume.ClientCache)}} {
		if err := r.loop(c.name, func() error {
			state.Extra = nil
			c.cache.Put(key, cs)
			if _, ok := c.cache.Get(key); !ok {
				return fmt.Errorf("bench: %s found nothing", c.name)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	state.Extra = nil
	return nil
}

func (r *microRun) records(cs *tls.ClientSessionState) error {
	ticketBytes, state, err := cs.ResumptionState()
	if err != nil {
		return err
	}
	now := time.Now()
	record := &ticket.Record{Ticket: ticketBytes, State: state, Received: now, Expires: now.Add(time.Hour), FullHandshake: now}
	marshaled, err := record.MarshalBinary()
	if err != nil {
		return err
	}
	for _, op := range []struct {
		name string
		run  func() error
	}{
		{"inspect", func() error { _, err := ticket.Inspect(ticketBytes, state); return err }},
		{"SessionState.Bytes, to compare", func() error { _, err := state.Bytes(); return err }},
		{"record marshal", func() error { _, err := record.MarshalBinary(); return err }},
		{"record unmarshal", func() error { return new(ticket.Record).UnmarshalBinary(marshaled) }},
	} {
		if err := r.loop(op.name, op.run); err != nil {
			return err
		}
	}
	return nil
}

func (r *microRun) seals(*tls.ClientSessionState) error {
	keys, err := ticket.NewKeyring([32]byte{1})
	if err != nil {
		return err
	}
	expires := time.Now().Add(time.Hour)
	plain := make([]byte, plainSize)
	sealed, err := keys.Seal("key", "id", expires, plain)
	if err != nil {
		return err
	}
	if err := r.loop("seal 2 KB", func() error { _, err := keys.Seal("key", "id", expires, plain); return err }); err != nil {
		return err
	}
	return r.loop("open 2 KB", func() error { _, err := keys.Open("key", "id", expires, sealed); return err })
}

// loop measures what takes less time than a look at the clock.
func (r *microRun) loop(name string, op func() error) error {
	var ns, allocs []float64
	for range r.passes {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began, n := time.Now(), 0
		for ; time.Since(began) < r.time; n += 100 {
			for range 100 {
				if err := op(); err != nil {
					return err
				}
			}
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		ns = append(ns, float64(took.Nanoseconds())/float64(n))
		allocs = append(allocs, float64(after.Mallocs-before.Mallocs)/float64(n))
	}
	return r.write(microResult{Bench: "micro", Name: name, Ns: report.Median(ns), Allocs: report.Median(allocs)})
}

// store takes one and puts one, with so many files under the key.
func (r *microRun) store(files int) error {
	dir, err := os.MkdirTemp(r.dir, "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	entry := func(i int) cache.Entry {
		return cache.Entry{ID: fmt.Sprintf("%032d", i), Value: make([]byte, plainSize), Expires: time.Now().Add(time.Hour)}
	}
	for i := range files {
		if err := store.Put(ctx, "key", entry(i)); err != nil {
			return err
		}
	}
	var takes, puts []float64
	for i := range r.pairs {
		began := time.Now()
		if _, err := store.Take(ctx, "key", 1); err != nil {
			return err
		}
		taken := time.Now()
		if err := store.Put(ctx, "key", entry(files+i)); err != nil {
			return err
		}
		takes = append(takes, float64(taken.Sub(began).Nanoseconds()))
		puts = append(puts, float64(time.Since(taken).Nanoseconds()))
	}
	for _, call := range []struct {
		name string
		took []float64
	}{{"take", takes}, {"put", puts}} {
		slices.Sort(call.took)
		if err := r.write(microResult{
			Bench: "micro", Name: fmt.Sprintf("dirstore %s, %d files, p50", call.name, files),
			Ns: report.Median(call.took), P99: call.took[(len(call.took)-1)*99/100],
		}); err != nil {
			return err
		}
	}
	return nil
}

func (r *microRun) write(m microResult) error {
	p99 := ""
	if m.P99 > 0 {
		p99 = fmt.Sprintf("%.0f", m.P99)
	}
	fmt.Printf("%-32s %10.0f %10s %8.1f\n", m.Name, m.Ns, p99, m.Allocs)
	return r.results.Write(m)
}
