//go:build !linux

package integration_test

import "time"

func threadTime() (time.Duration, bool) { return 0, false }
