package demo

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tlsresume/tlsresume/ticket"
)

// Keys reads the key file that is to be used, and makes it if it is not there.
// Without a path it is the program's own, in the user's cache directory.
func Keys(program, path string) (*ticket.Keyring, error) {
	if path == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no place for a key, name one with -keyfile: %w", err)
		}
		path = filepath.Join(dir, program, "key")
	}
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(path); err == nil {
			key, err = readKey(path)
		}
	}
	if err != nil {
		return nil, err
	}
	return ticket.NewKeyring(key)
}

// readKey reads a key in hex, from a file that nobody else can read.
func readKey(path string) (key [32]byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return key, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return key, fmt.Errorf("key file %s can be read by others", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || copy(key[:], raw) != len(key) || len(raw) != len(key) {
		return key, fmt.Errorf("key file %s is not 32 bytes in hex", path)
	}
	return key, nil
}

// makeKey makes a key file. Of several programs that do so at once one wins:
// the file appears whole, and once.
func makeKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	var key [32]byte
	rand.Read(key[:])
	_, err = fmt.Fprintln(file, hex.EncodeToString(key[:]))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
