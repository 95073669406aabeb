package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// A runShown says where results were measured.
type runShown struct {
	Command []string  `json:"command"`
	Began   time.Time `json:"began"`
	Go      string    `json:"go"`
	System  string    `json:"system"`
	CPUs    int       `json:"cpus"`
}

// measured is everything in a results file that is not outdone by a later line
// about the same.
type measured struct {
	runs       []runShown
	handshakes []handshakeResult
	costs      []costResult
	micros     []microResult
	pools      []poolResult
	memories   []memoryResult
}

func readResults(in io.Reader) (m measured, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := m.add(lines.Bytes()); err != nil {
			return m, fmt.Errorf("bench: results, line %d: %w", n, err)
		}
	}
	return m, lines.Err()
}

func (m *measured) add(line []byte) error {
	var kind struct{ Bench string }
	if err := json.Unmarshal(line, &kind); err != nil {
		return err
	}
	switch kind.Bench {
	case "run":
		return replace(&m.runs, line, func(a, b *runShown) bool { return a.Command[0] == b.Command[0] })
	case "handshakes":
		return replace(&m.handshakes, line, func(a, b *handshakeResult) bool {
			return a.Server == b.Server && a.Workload == b.Workload && a.Arm == b.Arm
		})
	case "cost":
		return replace(&m.costs, line, func(a, b *costResult) bool { return a.Exchange == b.Exchange && a.Arm == b.Arm })
	case "micro":
		return replace(&m.micros, line, func(a, b *microResult) bool { return a.Name == b.Name })
	case "pool":
		return replace(&m.pools, line, func(a, b *poolResult) bool { return a.Load == b.Load && a.Arm == b.Arm })
	case "memory":
		return replace(&m.memories, line, func(a, b *memoryResult) bool { return a.Load == b.Load && a.Arm == b.Arm })
	}
	return fmt.Errorf("unknown kind %q", kind.Bench)
}

// replace puts what a line says in the place of an earlier one about the same.
func replace[T any](all *[]T, line []byte, same func(a, b *T) bool) error {
	var one T
	if err := json.Unmarshal(line, &one); err != nil {
		return err
	}
	for i := range *all {
		if same(&(*all)[i], &one) {
			(*all)[i] = one
			return nil
		}
	}
	*all = append(*all, one)
	return nil
}
