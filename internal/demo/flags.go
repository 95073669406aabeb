package demo

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// Parse parses the flags of a command, whose name the set has. It answers -h
// itself, on standard output and with what follows the command's name in its
// usage line, and then returns false: there is nothing left to do. What is
// wrong is an ErrUsage of one line that says where help is; package flag alone
// would print all of the help over it.
func Parse(flags *flag.FlagSet, synopsis string, args []string) (goOn bool, err error) {
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(Stdout, "usage: %s %s\n", flags.Name(), synopsis)
		flags.SetOutput(Stdout)
		flags.PrintDefaults()
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%w: %w; try %s -h", ErrUsage, err, flags.Name())
	}
	return true, nil
}
