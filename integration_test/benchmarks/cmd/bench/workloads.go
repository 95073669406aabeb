package main

import "slices"

// A workload is bursts of connections, one after the other. All connections of
// a burst choose their tickets before the first has an answer, as on a network.
type workload struct {
	name   string
	bursts []int // how many connections each makes
	unread int   // every so manieth is closed before anything was read; 0: none
	warm   int   // sessions to have first; 0: begin cold
}

// The names that the targets speak of.
const (
	parallel1   = "1 parallel"
	parallel8   = "8 parallel"
	parallel64  = "64 parallel"
	rampCold    = "ramp"
	spikeCold   = "spike"
	browser     = "browser"
	unread1     = "1, 10% unread"
	unread64    = "64, 10% unread"
	rampWarm    = "ramp, warm"
	spikeWarm   = "spike, warm"
	peak        = 64
	perUnread   = 10
	singleBurst = 20 // connections before a spike
)

// planned makes the workloads, of so many rounds: 20 is what docs/performance.md
// has.
func planned(rounds int) []workload {
	ramp := slices.Repeat([]int{1, 2, 4, 8, 16, 32, peak, 32, 16, 8, 4, 2, 1}, max(1, rounds/6))
	spike := slices.Repeat(append(slices.Repeat([]int{1}, singleBurst), peak), max(1, rounds/3))
	return []workload{
		{name: parallel1, bursts: slices.Repeat([]int{1}, 10*rounds)},
		{name: parallel8, bursts: slices.Repeat([]int{8}, rounds)},
		{name: parallel64, bursts: slices.Repeat([]int{peak}, rounds)},
		{name: rampCold, bursts: ramp},
		{name: spikeCold, bursts: spike},
		{name: browser, bursts: slices.Repeat([]int{6, 1, 1, 2}, rounds)},
		{name: unread1, bursts: slices.Repeat([]int{1}, 20*rounds), unread: perUnread},
		{name: unread64, bursts: slices.Repeat([]int{peak}, rounds), unread: perUnread},
		{name: rampWarm, bursts: ramp, warm: peak},
		{name: spikeWarm, bursts: spike, warm: peak},
	}
}
