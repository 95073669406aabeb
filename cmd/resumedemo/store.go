package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// storeOptions say where sessions outlive the program. They are a demo.Keeper.
type storeOptions struct {
	dir     string // empty: nowhere
	keyFile string // empty: the program's own
	scope   string
}

// defaultScope makes all runs one identity and trust unless they say otherwise.
// What a run can differ in visibly, such as -insecure, is told apart within it.
const defaultScope = "resumedemo"

// Register adds the flags.
func (o *storeOptions) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.dir, "store", "", "`directory` that keeps sessions for the next run")
	flags.StringVar(&o.keyFile, "keyfile", "", "`file` of the key they are sealed with, made on first use (default resumedemo/key in the user's cache directory)")
	flags.StringVar(&o.scope, "scope", defaultScope, "`name` of the identity and trust that stored sessions belong to")
}

// idle refuses flags that say something about a store when there is none.
func (o *storeOptions) idle() error {
	if o.keyFile != "" || o.scope != defaultScope {
		return fmt.Errorf("%w: -keyfile and -scope make no sense without a place for sessions, such as -store", demo.ErrUsage)
	}
	return nil
}

// mustBeThere is for a command that only looks: it makes no directory, and no
// key that opens nothing, because of a name that was misspelt.
func (o *storeOptions) mustBeThere() error {
	for _, path := range []string{o.dir, o.keyFile} {
		if path == "" { // the key's default, which the next dial would make
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

// open opens the directory, with the key it is used with. An empty scope would
// be an anonymous one, whose sessions are not stored.
func (o *storeOptions) open() (*dirstore.Store, *ticket.Keyring, error) {
	if o.scope == "" {
		return nil, nil, fmt.Errorf("%w: -scope must not be empty", demo.ErrUsage)
	}
	keys, err := demo.Keys("resumedemo", o.keyFile)
	if err != nil {
		return nil, nil, err
	}
	store, err := dirstore.Open(o.dir, dirstore.Options{})
	return store, keys, err
}

// Use makes cache one with the store, if one is asked for, and returns its scope.
func (o *storeOptions) Use(cache *resume.ClientCache) (*resume.Scope, error) {
	if o.dir == "" {
		return cache.NewScope(), o.idle()
	}
	store, keys, err := o.open()
	if err != nil {
		return nil, err
	}
	cache.Store = resume.Seal(store, keys)
	return cache.Scope(o.scope), nil
}
