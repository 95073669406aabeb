//go:build unix

package report

import (
	"syscall"
	"time"
)

// CPU is the processor time this process has had, in user mode and in the
// kernel.
func CPU() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
