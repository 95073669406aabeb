package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
)

// inProcesses runs the command in one process after the other and takes the
// median of what they say. How memory happens to be laid out, and which phase
// the machine is in, is the same for all blocks of a process, and moves a ratio
// by up to half a per cent from one process to the next.
func (r *costRun) inProcesses() ([]costResult, error) {
	if r.profiles != (profiles{}) {
		return nil, errors.New("bench: a profile is of one process: it does not go with -processes")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var each [][]costResult
	for n := range r.processes {
		results := filepath.Join(dir, strconv.Itoa(n))
		cmd := exec.Command(self, "cost", "-attempts", "1", "-blocks", strconv.Itoa(r.blocks),
			"-handshakes", strconv.Itoa(r.handshakes), "-results", results)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("bench: process %d: %w", n+1, err)
		}
		written, err := os.ReadFile(results)
		if err != nil {
			return nil, err
		}
		m, err := readResults(bytes.NewReader(written))
		if err != nil {
			return nil, err
		}
		if len(each) > 0 && len(m.costs) != len(each[0]) {
			return nil, fmt.Errorf("bench: process %d has %d results, those before it %d", n+1, len(m.costs), len(each[0]))
		}
		each = append(each, m.costs)
	}
	return medians(each), nil
}

// medians takes the median of each result over all processes, of whose results
// those at one place are of one arm.
func medians(each [][]costResult) (all []costResult) {
	for i, one := range each[0] {
		over := func(field func(*costResult) float64) (values []float64) {
			for _, results := range each {
				values = append(values, field(&results[i]))
			}
			slices.Sort(values)
			return values
		}
		ratios := over(func(c *costResult) float64 { return c.Ratio })
		one.Ratio, one.Low, one.High = report.Median(ratios), ratios[len(ratios)/4], ratios[len(ratios)-1-len(ratios)/4]
		one.Client = report.Median(over(func(c *costResult) float64 { return c.Client }))
		one.Elapsed = report.Median(over(func(c *costResult) float64 { return c.Elapsed }))
		one.Us = report.Median(over(func(c *costResult) float64 { return c.Us }))
		one.ClientUs = report.Median(over(func(c *costResult) float64 { return c.ClientUs }))
		one.Allocs = report.Median(over(func(c *costResult) float64 { return c.Allocs }))
		all = append(all, one)
	}
	for _, exchange := range exchanges {
		judgeAA(slices.DeleteFunc(pointers(all), func(c *costResult) bool { return c.Exchange != exchange }))
	}
	return all
}
