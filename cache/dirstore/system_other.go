//go:build !unix

package dirstore

import (
	"io/fs"
	"os"
	"syscall"
)

// canSync makes Open refuse Options.Sync rather than promise what it cannot.
const canSync = false

// openDir fails for what is no directory.
func openDir(path string) (*os.File, error) {
	return openIf(path, fs.FileMode.IsDir, syscall.ENOTDIR)
}

// openFile fails for what is no regular file, which an open might wait for.
func openFile(path string) (*os.File, error) {
	return openIf(path, fs.FileMode.IsRegular, syscall.EINVAL)
}

// openIf looks before it opens: a symbolic link is not followed as long as
// nobody puts it there in between, which only the directory's owner can.
func openIf(path string, is func(fs.FileMode) bool, otherwise error) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !is(info.Mode()) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: otherwise}
	}
	return os.Open(path)
}

// makePrivate and ownedAlone have nothing to do: permissions are a matter of
// the access lists that the directory inherits.
func makePrivate(*os.File) error { return nil }

func ownedAlone(string, fs.FileInfo) error { return nil }

// syncDir is not called, as Open refuses Options.Sync.
func syncDir(string) error { return nil }

// exhausted knows no such error here: each counts as its file's own.
func exhausted(error) bool { return false }
