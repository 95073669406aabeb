//go:build unix

package peer

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the process the leader of a group, which its children join.
// No signal of a terminal reaches it there.
func ownGroup(cmd *exec.Cmd) { attributes(cmd).Setpgid = true }

// kill kills the process and, if it has a group of its own, its children. The
// group's id is the leader's and stays taken while any of them lives.
func kill(cmd *exec.Cmd) {
	if attributes(cmd).Setpgid {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return
	}
	cmd.Process.Kill()
}

func attributes(cmd *exec.Cmd) *syscall.SysProcAttr {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	return cmd.SysProcAttr
}
