package report

import (
	"runtime"
	"time"
)

// Heap is how many bytes of heap are in use once nothing more is collected.
// That takes several rounds: crypto/tls forgets certificates in cleanups, which
// run after a collection, each as it comes, and for a million of them that is a
// while.
func Heap() float64 {
	last := inUse()
	for quiet := 0; quiet < 3; {
		time.Sleep(50 * time.Millisecond) // let cleanups run
		now := inUse()
		if quiet++; now < 0.999*last {
			quiet = 0
		}
		last = now
	}
	return last
}

func inUse() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}
