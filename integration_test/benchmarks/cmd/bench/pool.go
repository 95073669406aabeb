package main

import (
	"flag"
	"fmt"
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
	rounds, pairs, goroutines int
	only, arms                string
}

// A poolLoad is one workload: keys chosen evenly, and room for some of them.
type poolLoad struct {
	name           string
	keys, capacity int
}

var poolLoads = []poolLoad{
	{"10k", 10_000, 10_000},
	{"10k-evicting", 10_000, 5_000},
	{"1M", 1_000_000, 1_000_000},
	{"1M-evicting", 1_000_000, 500_000},
	{"hot", 1, 10_000},
}

// A poolResult is what one arm did under one load.
type poolResult struct {
	Bench   string  `json:"bench"` // "pool"
	Load    string  `json:"load"`
	Arm     string  `json:"arm"`
	Ns      float64 `json:"ns"`       // a take and a put, median of the passes
	Allocs  float64 `json:"allocs"`   // a take and a put
	AtList  float64 `json:"at_list"`  // how many times as fast, median of the pairs
	AtOtter float64 `json:"at_otter"` // the same
	Hits    float64 `json:"hits"`     // takes that found something, of 1
	Rounds  int     `json:"rounds"`
}

func poolCommand(flags *flag.FlagSet) func(*report.File) error {
	var r poolRun
	flags.IntVar(&r.rounds, "rounds", 15, "passes of each arm")
	flags.IntVar(&r.pairs, "pairs", 400_000, "takes and puts in a pass")
	flags.IntVar(&r.goroutines, "goroutines", 8, "that share a pass")
	flags.StringVar(&r.only, "load", "", "one `load` alone: 10k, 10k-evicting, 1M, 1M-evicting or hot")
	flags.StringVar(&r.arms, "arms", "", "these `arms` alone, with commas between")
	return r.run
}

func (r *poolRun) run(results *report.File) error {
	fmt.Printf("%-14s %-11s %8s %8s %8s %8s %6s\n", "load", "arm", "ns", "allocs", "x list", "x otter", "hits")
	for _, load := range poolLoads {
		if r.only != "" && r.only != load.name {
			continue
		}
		for _, result := range r.measure(load) {
			fmt.Printf("%-14s %-11s %8.0f %8.2f %8.2f %8.2f %6.3f\n", result.Load, result.Arm,
				result.Ns, result.Allocs, result.AtList, result.AtOtter, result.Hits)
			if err := results.Write(result); err != nil {
				return err
			}
		}
	}
	return nil
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
		if r.arms == "" || slices.Contains(strings.Split(r.arms, ","), arm.Name) {
			passes = append(passes, &armPasses{name: arm.Name, cache: arm.New(load.capacity)})
		}
	}
	for _, arm := range passes {
		for _, key := range keys {
			arm.cache.Put(key, new(int))
		}
		r.pass(arm.cache, keys, 0) // into what is the order in the long run
	}
	for round := 1; round <= r.rounds; round++ {
		for i := range passes {
			arm := passes[(round+i)%len(passes)]
			runtime.GC() // let nobody pay for another's garbage
			arm.add(r.pass(arm.cache, keys, round))
		}
	}
	var results []poolResult
	for _, arm := range passes {
		results = append(results, poolResult{
			Bench: "pool", Load: load.name, Arm: arm.name, Rounds: r.rounds,
			Ns:      report.Median(arm.ns),
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
	name             string
	cache            arms.Cache
	ns, allocs, hits []float64
}

func (a *armPasses) add(p passed) {
	a.ns = append(a.ns, float64(p.took.Nanoseconds())/float64(p.pairs))
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

type passed struct {
	pairs, hits int
	allocs      uint64
	took        time.Duration
}

// pass takes and puts on all goroutines at once, in every round others of the
// keys.
func (r *poolRun) pass(c arms.Cache, keys []string, round int) passed {
	var start, done sync.WaitGroup
	hits := make([]int, r.goroutines)
	start.Add(1)
	for g := range r.goroutines {
		done.Go(func() {
			start.Wait()
			hits[g] = takeAndPut(c, keys, r.pairs/r.goroutines, uint64(round*r.goroutines+g))
		})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	start.Done()
	done.Wait()
	p := passed{pairs: r.pairs / r.goroutines * r.goroutines, took: time.Since(began)}
	runtime.ReadMemStats(&after)
	p.allocs = after.Mallocs - before.Mallocs
	for _, n := range hits {
		p.hits += n
	}
	return p
}

// takeAndPut chooses keys by xorshift, which costs next to nothing, and counts
// the takes that found something.
func takeAndPut(c arms.Cache, keys []string, pairs int, seed uint64) (hits int) {
	x := (seed + 1) * 0x9e3779b97f4a7c15
	value := new(int)
	for range pairs {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		key := keys[x%uint64(len(keys))]
		if _, ok := c.Take(key); ok {
			hits++
		}
		c.Put(key, value)
	}
	return hits
}
