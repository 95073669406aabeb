// Package report is what the commands of bench have in common: results as
// lines of JSON, and medians.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

// A File takes results, one JSON object a line. The nil File takes nothing.
type File struct {
	f *os.File
}

// A run says where the results after it, up to the next run, were measured.
type run struct {
	Bench   string    `json:"bench"` // "run"
	Command []string  `json:"command"`
	Began   time.Time `json:"began"`
	Go      string    `json:"go"`
	System  string    `json:"system"`
	CPUs    int       `json:"cpus"`
}

// Append opens a results file for a run of a command, and makes it if there is
// none. Without a path it returns nil.
func Append(path string, command []string) (*File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("bench: results file: %w", err)
	}
	file := &File{f}
	err = file.Write(run{
		Bench: "run", Command: command, Began: time.Now().UTC().Truncate(time.Second),
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0),
	})
	return file, err
}

// Write adds a result, which has to be a struct with a field "bench".
func (r *File) Write(result any) error {
	if r == nil {
		return nil
	}
	line, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("bench: encoding a result: %w", err)
	}
	if _, err := r.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("bench: writing a result: %w", err)
	}
	return nil
}

// Close closes the file.
func (r *File) Close() error {
	if r == nil {
		return nil
	}
	return r.f.Close()
}

// Median of at least one value; of an even number the mean of the middle two.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
