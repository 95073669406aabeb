package integration_test

import (
	"syscall"
	"time"
	"unsafe"
)

// threadTime is the processor time that the calling thread has used
// (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID). What else the machine is doing
// shows in it hardly at all.
func threadTime() (time.Duration, bool) {
	const threadCPU = 3
	var at syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&at)), 0)
	return time.Duration(at.Nano()), errno == 0
}
