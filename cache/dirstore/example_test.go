package dirstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

func ExampleOpen() {
	home, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	dir := filepath.Join(home, "tickets") // in a program: below os.UserCacheDir
	ctx := context.Background()

	first, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = first.Put(ctx, "key",
		cache.Entry{ID: "1", Value: []byte("sealed"), Expires: time.Now().Add(time.Hour)},
		cache.Entry{ID: "2", Value: []byte("sealed as well")})
	if err != nil {
		log.Fatal(err)
	}

	// Another process, or this one after a restart.
	second, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		entries, err := second.Take(ctx, "key", 1)
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(entries[0].ID, string(entries[0].Value))
	}
	// Output:
	// 2 sealed as well
	// 1 sealed
	// cache: miss
}

// What a tool shows that must not use up what it shows.
func ExampleStore_List() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := s.Put(ctx, "key", cache.Entry{ID: "1", Value: make([]byte, 450)}); err != nil {
		log.Fatal(err)
	}
	for entry, err := range s.List(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Key, entry.ID, entry.Size, entry.Expires.IsZero())
	}
	// Output:
	// key 1 450 true
}
