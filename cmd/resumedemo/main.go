// Command resumedemo shows session resumption at work.
//
//	resumedemo                    the standard cache and this one side by side
//	resumedemo dial host:port     dial a TLS server and say what resumed
//	resumedemo sessions list      what a directory keeps for dial or serve -store
//	resumedemo serve              a server that says what becomes of sessions
package main

import (
	"os"

	"github.com/tlsresume/tlsresume/internal/demo"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is all of the program, for tests that are it. It returns the exit status.
func run(args []string) int { return demo.Exit("resumedemo", dispatch(args)) }

// dispatch finds the command. No word is the comparison, which has flags of its
// own; so whatever is no command ends there, and is refused there.
func dispatch(args []string) error {
	switch {
	case len(args) > 0 && args[0] == childCommand:
		return serveChild(os.Stdin, os.Stdout)
	case len(args) > 0 && args[0] == "dial":
		return demo.Dial("resumedemo dial", args[1:], new(storeOptions))
	case len(args) > 0 && args[0] == "serve":
		return serveCommand(args[1:])
	case len(args) > 0 && args[0] == "sessions":
		return sessionsCommand(args[1:])
	}
	return compareCommand(args)
}
