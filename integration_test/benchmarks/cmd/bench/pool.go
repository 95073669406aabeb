package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/arms"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
)

// A poolRun is what the flags of the command say.
type poolRun struct {
	rounds, warmup, pairs, goroutines int
	only, arms                        string
}

// A poolLoad is one workload: how many keys there are, and room for how many.
type poolLoad struct {
	name           string
	keys, capacity int
	skew           float64 // exponent of a Zipf distribution; 0: keys come evenly
}

var poolLoads = []poolLoad{
	{"10k", 10_000, 10_000, 0},
	{"10k-evicting", 10_000, 5_000, 0},
	{"1M", 1_000_000, 1_000_000, 0},
	{"1M-evicting", 1_000_000, 500_000, 0},
	{"hot", 1, 10_000, 0},
	{"zipf-1%", 100_000, 1_000, 1.01},
	{"zipf-10%", 100_000, 10_000, 1.01},
}

// A poolResult is what one arm did under one load.
type poolResult struct {
	Bench   string  `json:"bench"` // "pool"
	Load    string  `json:"load"`
	Arm     string  `json:"arm"`
	Ns      float64 `json:"ns"`       // a take and a put, median of the passes
	CPU     float64 `json:"cpu"`      // ns of processor time for it; 0: not known
	Allocs  float64 `json:"allocs"`   // a take and a put
	AtList  float64 `json:"at_list"`  // how many times as fast, median of the pairs
	AtOtter float64 `json:"at_otter"` // the same
	Hits    float64 `json:"hits"`     // takes that found something, of 1
	Rounds  int     `json:"rounds"`
}

func poolCommand(flags *flag.FlagSet) func(*report.File) error {
	var r poolRun
	flags.IntVar(&r.rounds, "rounds", 101, "passes of each arm")
	flags.IntVar(&r.warmup, "warmup", 8, "passes of each before, which do not count")
	flags.IntVar(&r.pairs, "pairs", 80_000, "takes and puts in a pass")
	flags.IntVar(&r.goroutines, "goroutines", 8, "that share a pass")
	flags.StringVar(&r.only, "load", "", "these `loads` alone, with commas between")
	flags.StringVar(&r.arms, "arms", "", "these `arms` alone, with commas between")
	return r.run
}

func (r *poolRun) run(results *report.File) error {
	fmt.Printf("%-14s %-11s %8s %8s %8s %8s %8s %6s\n", "load", "arm", "ns", "cpu ns", "allocs", "x list", "x otter", "hits")
	for _, load := range poolLoads {
		if !listed(r.only, load.name) {
			continue
		}
		for _, result := range r.measure(load) {
			fmt.Printf("%-14s %-11s %8.0f %8.0f %8.2f %8.2f %8.2f %6.3f\n", result.Load, result.Arm,
				result.Ns, result.CPU, result.Allocs, result.AtList, result.AtOtter, result.Hits)
			if err := results.Write(result); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed reports whether a flag that chooses by name lets this one through.
func listed(flag, name string) bool {
	return flag == "" || slices.Contains(strings.Split(flag, ","), name)
}

// measure lets the arms take turns, one round each has one pass, so that the
// two of a pair saw the same machine. Each round begins with another arm.
func (r *poolRun) measure(load poolLoad) []poolResult {
	keys := make([]string, load.keys)
	for i := range keys {
		keys[i] = fmt.Sprintf("server-%07d.example.com", i)
	}
	var passes []*armPasses
	for _, arm := range arms.All {
		if listed(r.arms, arm.Name) {
			passes = append(passes, &armPasses{name: arm.Name, cache: arm.New(load.capacity)})
		}
	}
	for _, arm := range passes {
		for _, key := range keys {
			arm.cache.Put(key, new(int))
		}
	}
	choose := r.chooser(load)
	for round := range r.warmup + r.rounds {
		order := choose()
		if round%8 == 0 {
			runtime.GC() // at much the same place for all
		}
		for i := range passes {
			arm := passes[(round+i)%len(passes)]
			if p := r.pass(arm.cache, keys, order); round >= r.warmup {
				arm.add(p)
			}
		}
	}
	var results []poolResult
	for _, arm := range passes {
		results = append(results, poolResult{
			Bench: "pool", Load: load.name, Arm: arm.name, Rounds: r.rounds,
			Ns:      report.Median(arm.ns),
			CPU:     report.Median(arm.cpu),
			Allocs:  report.Median(arm.allocs),
			Hits:    report.Median(arm.hits),
			AtList:  ratio(passes, arms.List, arm),
			AtOtter: ratio(passes, arms.Otter, arm),
		})
	}
	return results
}

// armPasses is what the passes of one arm showed, each for one take and put.
type armPasses struct {
	name                  string
	cache                 arms.Cache
	ns, cpu, allocs, hits []float64
}

func (a *armPasses) add(p passed) {
	a.ns = append(a.ns, float64(p.took.Nanoseconds())/float64(p.pairs))
	a.cpu = append(a.cpu, float64(p.cpu.Nanoseconds())/float64(p.pairs))
	a.allocs = append(a.allocs, float64(p.allocs)/float64(p.pairs))
	a.hits = append(a.hits, float64(p.hits)/float64(p.pairs))
}

// ratio is how many times as fast an arm is as the one called base.
func ratio(passes []*armPasses, base string, arm *armPasses) float64 {
	for _, other := range passes {
		if other.name == base {
			ratios := make([]float64, len(arm.ns))
			for round := range ratios {
				ratios[round] = other.ns[round] / arm.ns[round]
			}
			return report.Median(ratios)
		}
	}
	return 0 // it is not in this run
}

// chooser returns what chooses the keys of a pass, by index, in every round
// others and the same for all arms.
func (r *poolRun) chooser(load poolLoad) func() []uint32 {
	random := rand.New(rand.NewPCG(1, 2))
	choose := func() uint32 { return uint32(random.IntN(load.keys)) }
	if load.skew > 0 {
		zipf := rand.NewZipf(random, load.skew, 1, uint64(load.keys-1))
		choose = func() uint32 { return uint32(zipf.Uint64()) }
	}
	order := make([]uint32, r.pairs)
	return func() []uint32 {
		for i := range order {
			order[i] = choose()
		}
		return order
	}
}

// pass takes and puts on all goroutines at once.
func (r *poolRun) pass(c arms.Cache, keys []string, order []uint32) passed {
	var start, done sync.WaitGroup
	hits := make([]int, r.goroutines)
	part := len(order) / r.goroutines
	start.Add(1)
	for g := range r.goroutines {
		done.Go(func() {
			start.Wait()
			hits[g] = takeAndPut(c, keys, order[g*part:][:part])
		})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := passed{pairs: part * r.goroutines}
	began, cpu := time.Now(), report.CPU()
	start.Done()
	done.Wait()
	p.took, p.cpu = time.Since(began), report.CPU()-cpu
	runtime.ReadMemStats(&after)
	p.allocs = after.Mallocs - before.Mallocs
	for _, n := range hits {
		p.hits += n
	}
	return p
}

type passed struct {
	pairs, hits int
	allocs      uint64
	took, cpu   time.Duration
}

// takeAndPut counts the takes that found something.
func takeAndPut(c arms.Cache, keys []string, order []uint32) (hits int) {
	value := new(int)
	for _, i := range order {
		if _, ok := c.Take(keys[i]); ok {
			hits++
		}
		c.Put(keys[i], value)
	}
	return hits
}
