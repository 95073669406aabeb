// Bench measures the layer against what people would use instead, each command
// all its arms side by side in one run: on a machine that others use, too, only
// ratios from one run mean something.
//
//	go run ./cmd/bench pool -results results.jsonl
//	go run ./cmd/bench memory -results results.jsonl
//
// What the pool gains by its many locks shows only on processors that are free:
// with more to run than there are, it comes down to the ratio of "cpu ns".
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
)

// A command registers its flags and returns what runs once they are parsed.
type command struct {
	name, about string
	setup       func(flags *flag.FlagSet) func(results *report.File) error
}

var commands = []command{
	{"pool", "take and put of cache.Pool against other structures", poolCommand},
	{"memory", "heap per server against the standard library's cache", memoryCommand},
	{"handshakes", "how many connections resume, and what they cost, against real servers", handshakesCommand},
	{"cost", "one percent of a resumed handshake: what the layer adds to it", costCommand},
	{"micro", "single operations: inspect, seal, open, records, the directory store", microCommand},
	{"plot", "the plots and tables of docs/performance.md, from a results file", plotCommand},
	{serversCommandName, "the servers of handshakes, which starts them itself", serversCommand},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	if len(args) == 0 {
		return usage()
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		flags := flag.NewFlagSet("bench "+c.name, flag.ExitOnError)
		path := flags.String("results", "", "append the results to this `file`, as lines of JSON")
		measure := c.setup(flags)
		flags.Parse(args[1:])
		results, err := report.Append(*path, args)
		if err != nil {
			return err
		}
		defer results.Close()
		return measure(results)
	}
	return usage()
}

func usage() error {
	text := "usage: bench command [flags]\n"
	for _, c := range commands {
		text += fmt.Sprintf("\n  %-8s %s", c.name, c.about)
	}
	return fmt.Errorf("%s", text)
}
