//go:build !unix

package peer

import "os/exec"

func ownGroup(*exec.Cmd) {}

// killGroup kills the process alone.
func killGroup(cmd *exec.Cmd) { cmd.Process.Kill() }
