package demo

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
)

// ErrUsage marks what the caller of a program did wrong: exit status 2.
var ErrUsage = errors.New("usage")

// Exit tells an error in one line and returns the program's exit status. A
// program that did all it should has failed all the same if its output was lost.
func Exit(program string, err error) int {
	if err == nil {
		err = Stdout.failure()
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, program+": "+oneLine(err.Error()))
	if errors.Is(err, ErrUsage) {
		return 2
	}
	return 1
}

// oneLine keeps one error on one line, for whoever counts or greps lines. It
// also keeps a server's words out of the terminal's command channel: an error
// of crypto/x509 quotes the names of a certificate as they are, and those may
// hold escape sequences.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
