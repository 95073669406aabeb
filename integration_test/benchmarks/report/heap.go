package report

import (
	"runtime"
	"time"
)

// Heap is how many bytes of heap are in use once nothing more is collected.
// That can take several rounds: crypto/tls forgets certificates in cleanups,
// which run after a collection, each as it comes.
func Heap() float64 {
	for last := inUse(); ; {
		time.Sleep(20 * time.Millisecond) // let cleanups run
		now := inUse()
		if now > 0.999*last {
			return now
		}
		last = now
	}
}

func inUse() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}
