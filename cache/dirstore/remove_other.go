//go:build !unix && !windows

package dirstore

import "os"

func remove(path string) error { return os.Remove(path) }
