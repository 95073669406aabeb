package demo

import (
	"os"
	"sync"
)

// Stdout is the program's standard output. Nobody checks what a print returns;
// this one remembers it, so that Exit can say that a report went to a full disk.
// (A closed pipe needs no such care: SIGPIPE ends a Go program at its standard
// output as it ends any other.)
var Stdout = new(output)

// An output writes to os.Stdout, which is looked up at each write because tests
// replace it.
type output struct {
	mu  sync.Mutex // guards err
	err error      // the first; what was lost later says nothing new
}

func (o *output) Write(b []byte) (int, error) {
	n, err := os.Stdout.Write(b)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
