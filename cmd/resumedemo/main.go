// Command resumedemo shows session resumption at work.
//
//	resumedemo                    the standard cache and this one side by side
//	resumedemo dial host:port     dial a TLS server and say what resumed
//	resumedemo sessions list      what a directory keeps for dial -store
//	resumedemo serve              a server that says what becomes of sessions
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// errUsage marks what the caller of the program did wrong: exit status 2.
var errUsage = errors.New("usage")

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	err := dispatch(args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "resumedemo: "+strings.ReplaceAll(err.Error(), "\n", " "))
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

func dispatch(args []string) error {
	switch {
	case len(args) > 0 && args[0] == childCommand:
		return serveChild(os.Stdin, os.Stdout)
	case len(args) > 0 && args[0] == "dial":
		return dialCommand(args[1:])
	case len(args) > 0 && args[0] == "serve":
		return serveCommand(args[1:])
	case len(args) > 0 && args[0] == "sessions":
		return sessionsCommand(args[1:])
	}
	return compareCommand(args)
}
