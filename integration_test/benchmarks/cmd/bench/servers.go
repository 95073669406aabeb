package main

import (
	"flag"
	"os"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/peers"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
)

// serversCommandName is how handshakes starts its servers.
const serversCommandName = "servers"

func serversCommand(*flag.FlagSet) func(*report.File) error {
	return func(*report.File) error { return peers.Serve(os.Stdin, os.Stdout) }
}
