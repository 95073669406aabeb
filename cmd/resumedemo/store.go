package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// storeOptions say where sessions outlive the program.
type storeOptions struct {
	dir     string
	keyFile string
	scope   string
}

func (o *storeOptions) register(flags *flag.FlagSet) {
	flags.StringVar(&o.dir, "store", "", "`directory` that keeps sessions for the next run")
	flags.StringVar(&o.keyFile, "keyfile", "", "`file` of the key they are sealed with, made on first use (default resumedemo/key in the user's cache directory)")
	flags.StringVar(&o.scope, "scope", "resumedemo", "`name` of the identity and trust that stored sessions belong to")
}

// open opens the directory, with the key it is used with.
func (o *storeOptions) open() (*dirstore.Store, *ticket.Keyring, error) {
	if o.scope == "" {
		return nil, nil, fmt.Errorf("%w: -scope must not be empty", errUsage)
	}
	keys, err := o.keys()
	if err != nil {
		return nil, nil, err
	}
	store, err := dirstore.Open(o.dir, dirstore.Options{})
	return store, keys, err
}

// cache is a cache with the store, if one is asked for, and its scope.
func (o *storeOptions) use(cache *resume.ClientCache) (*resume.Scope, error) {
	if o.dir == "" {
		return cache.NewScope(), nil
	}
	store, keys, err := o.open()
	if err != nil {
		return nil, err
	}
	cache.Store = resume.Seal(store, keys)
	return cache.Scope(o.scope), nil
}

func (o *storeOptions) keys() (*ticket.Keyring, error) {
	path := o.keyFile
	if path == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no place for a key, name one with -keyfile: %w", err)
		}
		path = filepath.Join(dir, "resumedemo", "key")
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
