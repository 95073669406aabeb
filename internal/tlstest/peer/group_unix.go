//go:build unix

package peer

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the process the leader of a group, which its children join.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup kills the process and its children. The group's id is the leader's
// and stays taken while any of them lives.
func killGroup(cmd *exec.Cmd) {
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}
