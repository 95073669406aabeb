//go:build unix

package cputime

import (
	"syscall"
	"time"
)

// Process is the CPU time of this process, user and system.
func Process() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
