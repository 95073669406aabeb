package peer

import (
	"os/exec"
	"syscall"
)

// diesWithUs makes the system tell the process to end when this one is killed,
// or panics, before it could: all of the programs do so at SIGTERM, and take
// their children along. To the system it is the thread that counts which
// started the process; Go ends none unless a goroutine is locked to it.
func diesWithUs(cmd *exec.Cmd) { attributes(cmd).Pdeathsig = syscall.SIGTERM }
