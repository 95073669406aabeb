package dirstore

import (
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

const (
	accessDelete      = 0x00010000 // DELETE
	flagDeleteOnClose = 0x04000000 // FILE_FLAG_DELETE_ON_CLOSE
	sharingViolation  = syscall.Errno(32)

	// A file that is open elsewhere is tried again, since who takes or reads it
	// closes it at once. After 20 tries of about a millisecond it is left to
	// whoever holds it.
	sharingTries = 20
)

// remove removes a file for one of all who try at the same time. Two handles
// can both mark a file as deleted and both succeed, and so can two renames of
// it; what only one can have is the file open for itself alone. So it is opened
// like that and goes when it is closed. If it is open elsewhere it stays:
// another is taking or reading it.
func remove(path string) error {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	for try := 1; ; try++ {
		// No sharing, and no reparse point followed: the file itself, or none.
		handle, err := syscall.CreateFile(name, accessDelete, 0, nil, syscall.OPEN_EXISTING,
			flagDeleteOnClose|syscall.FILE_FLAG_OPEN_REPARSE_POINT, 0)
		if err == nil {
			err = syscall.CloseHandle(handle)
		}
		switch {
		case err == nil:
			return nil
		case err == sharingViolation && try == sharingTries: // as if it were gone
			return fmt.Errorf("%w: %s is held open by another", fs.ErrNotExist, path)
		case err != sharingViolation:
			return &fs.PathError{Op: "remove", Path: path, Err: err}
		}
		time.Sleep(time.Millisecond)
	}
}
