//go:build !unix && !windows

package dirstore

import "os"

// remove is for systems of which it is not known better. That one of several
// removals of a file succeeds is for the file system to see to.
func remove(path string) error { return os.Remove(path) }
