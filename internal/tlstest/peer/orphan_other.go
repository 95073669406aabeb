//go:build !linux

package peer

import "os/exec"

func diesWithUs(*exec.Cmd) {}
