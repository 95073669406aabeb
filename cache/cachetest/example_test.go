package cachetest_test

import (
	"testing"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/cachetest"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

// In a test of one's own it would be func TestStore(t *testing.T). Here the
// second function opens what the first has made a second time.
func ExampleRun() {
	dirs := make(map[cache.Store]string)
	open := func(t *testing.T, dir string) cache.Store {
		s, err := dirstore.Open(dir, dirstore.Options{MaxPerKey: 40})
		if err != nil {
			t.Fatal(err)
		}
		dirs[s] = dir
		return s
	}
	test := func(t *testing.T) {
		cachetest.Run(t, cachetest.Options{
			New:       func(t *testing.T) cache.Store { return open(t, t.TempDir()) },
			Reopen:    func(t *testing.T, s cache.Store) cache.Store { return open(t, dirs[s]) },
			MaxPerKey: 40,
		})
	}
	_ = test
}
