// Command once is the program that BenchmarkProcess runs: with a directory as
// its argument it opens the store there and takes one entry, without it exits.
package main

import (
	"context"
	"log"
	"os"

	"github.com/tlsresume/tlsresume/cache/dirstore"
)

func main() {
	if len(os.Args) < 2 {
		return
	}
	s, err := dirstore.Open(os.Args[1], dirstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := s.Take(context.Background(), "key7", 1); err != nil {
		log.Fatal(err)
	}
}
