//go:build unix

package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// canSync says that a directory can be synced like a file.
const canSync = true

// noFollow neither follows a symbolic link nor waits for the other end of a
// FIFO.
const noFollow = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// openDir fails for what is no directory, rather than open it.
func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, noFollow|syscall.O_DIRECTORY, 0)
}

// openFile may open a device or a FIFO, which load then finds out.
func openFile(path string) (*os.File, error) { return os.OpenFile(path, noFollow, 0) }

// remove removes a file for one of all who try at the same time. Unlike
// os.Remove it leaves directories alone.
func remove(path string) error {
	for {
		err := syscall.Unlink(path)
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return &fs.PathError{Op: "unlink", Path: path, Err: err}
		}
	}
}

// makePrivate gives back what an odd umask has taken: one that takes the
// owner's right to read would make an entry that nobody can take.
func makePrivate(file *os.File) error {
	info, err := file.Stat()
	if err == nil && info.Mode().Perm() != 0o600 {
		err = file.Chmod(0o600)
	}
	return err
}

// syncDir waits until the names in a directory are on disk.
func syncDir(path string) error {
	d, err := openDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ownedAlone fails for a directory of another user, or one that others can
// write. What an access list allows beyond that shows in the group's bits.
func ownedAlone(dir string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s can be written by others: mode %04o", dir, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, this process to %d", dir, stat.Uid, os.Geteuid())
	}
	return nil
}

// exhausted is true of errors that are the process's or the system's state: too
// many open files, or no memory. A Take that passed over a file for that would
// call a full store empty.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}
