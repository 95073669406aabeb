package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/arms"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
)

// A verdict is a target and what was measured.
type verdict struct {
	Target string
	Where  string // arm and server, or whatever tells it from others of the target
	Got    float64
	AtMost bool // otherwise at least
	Bound  float64
}

func (v verdict) passed() bool {
	if v.AtMost {
		return v.Got <= v.Bound
	}
	return v.Got >= v.Bound
}

func (v verdict) String() string {
	word, sign := "pass", ">="
	if v.AtMost {
		sign = "<="
	}
	if !v.passed() {
		word = "FALLS SHORT"
	}
	return fmt.Sprintf("%-11s %-52s %-24s %.5g, to be %s %.4g", word, v.Target, v.Where, v.Got, sign, v.Bound)
}

func printVerdicts(out io.Writer, verdicts []verdict) {
	for _, v := range verdicts {
		fmt.Fprintln(out, v)
	}
}

// handshakeVerdicts are those that the results allow.
func handshakeVerdicts(results []handshakeResult) (verdicts []verdict) {
	for _, arm := range clients.All {
		if !arm.Ours {
			continue
		}
		for _, server := range serversOf(results) {
			verdicts = append(verdicts, armVerdicts(results, server, arm.Name)...)
		}
	}
	slices.SortStableFunc(verdicts, func(a, b verdict) int { return boolOrder(a.passed(), b.passed()) })
	return verdicts
}

func armVerdicts(results []handshakeResult, server, arm string) (verdicts []verdict) {
	where := arm + ", " + server
	find := func(workload, arm string) *handshakeResult { return resultOf(results, server, workload, arm) }
	add := func(target string, got float64, atMost bool, bound float64) {
		verdicts = append(verdicts, verdict{target, where, got, atMost, bound})
	}
	reused, found := 0, false
	for _, r := range results {
		if r.Server == server && r.Arm == arm {
			reused, found = reused+r.Reused, true
		}
	}
	if found {
		add("connections that offered a used ticket", float64(reused), true, 0)
	}
	for _, workload := range []string{parallel1, parallel8, parallel64} {
		if r, standard := find(workload, arm), find(workload, clients.Standard); r != nil && standard != nil {
			add(workload+": resumed, of the standard LRU's", r.rate()/standard.rate(), false, 0.99)
		}
	}
	for _, workload := range []string{rampWarm, spikeWarm} {
		if r := find(workload, arm); r != nil {
			add(workload+": resumed of the measured connections", r.rate(), false, 0.99)
			add(workload+": handshakes to warm up", float64(r.Warming)/float64(r.Passes), true, peak)
		}
	}
	if arm == clients.Plugged || arm == clients.TLSConfig {
		return verdicts // nobody can read for a connection that is not ours
	}
	if r := find(unread1, arm); r != nil {
		add(unread1+": resumed", r.rate(), false, 0.99)
	}
	if r, without := find(unread64, arm), find(parallel64, arm); r != nil && without != nil {
		add(unread64+": resumed, of that without", r.rate()/without.rate(), false, 0.99)
	}
	return verdicts
}

// poolVerdicts are those of the pool's loads; one key is said as it is.
func poolVerdicts(results []poolResult) (verdicts []verdict) {
	bounds := map[string]struct{ list, otter float64 }{
		"10k": {2, 0.95}, "10k-evicting": {2, 1.3}, "1M": {1.8, 0.95}, "1M-evicting": {1.8, 1.3},
	}
	for _, r := range results {
		bound, ok := bounds[r.Load]
		if !ok || r.Arm != arms.Pool {
			continue
		}
		verdicts = append(verdicts,
			verdict{"pool: times as fast as a mutex and a list", r.Load, r.AtList, false, bound.list},
			verdict{"pool: times as fast as otter", r.Load, r.AtOtter, false, bound.otter},
			verdict{"pool: allocations", r.Load, math.Round(r.Allocs), true, 0})
	}
	return verdicts
}

// serversOf are the servers of the results, in their order.
func serversOf(results []handshakeResult) (servers []string) {
	for _, r := range results {
		if !slices.Contains(servers, r.Server) {
			servers = append(servers, r.Server)
		}
	}
	return servers
}

// boolOrder puts false first.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
