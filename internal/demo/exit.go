package demo

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrUsage marks what the caller of a program did wrong: exit status 2.
var ErrUsage = errors.New("usage")

// Exit tells an error in one line and returns the program's exit status.
func Exit(program string, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, program+": "+strings.ReplaceAll(err.Error(), "\n", " "))
	if errors.Is(err, ErrUsage) {
		return 2
	}
	return 1
}
