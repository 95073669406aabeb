package dirstore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

// benchDir is a directory where the benchmarks are to run. TLSRESUME_BENCH_DIR
// names one on the file system of interest; otherwise it is the usual one.
func benchDir(b *testing.B) string {
	dir := os.Getenv("TLSRESUME_BENCH_DIR")
	if dir == "" {
		return filepath.Join(b.TempDir(), "store")
	}
	dir, err := os.MkdirTemp(dir, "dirstore")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// ticket is an entry of the size of a sealed session with an ECDSA leaf.
func ticket(i int) cache.Entry {
	return cache.Entry{ID: fmt.Sprintf("%032d", i), Value: make([]byte, 2000), Expires: time.Now().Add(time.Hour)}
}

// quantiles reports what the operation takes: the mean hides what a journal
// does now and then.
func quantiles(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		at := took[len(took)*p/100]
		b.ReportMetric(float64(at.Nanoseconds())/1e3, fmt.Sprintf("%s-p%d-us", name, p))
	}
}

// BenchmarkStore takes one and puts one, with so many files under the key.
func BenchmarkStore(b *testing.B) {
	for _, files := range []int{1, 8, 64} {
		for _, sync := range []bool{false, true} {
			b.Run(fmt.Sprintf("files=%d/sync=%v", files, sync), func(b *testing.B) {
				s := open(b, benchDir(b), dirstore.Options{Sync: sync})
				for i := range files {
					require.NoError(b, s.Put(b.Context(), "key", ticket(i)))
				}
				benchStore(b, s, files)
			})
		}
	}
}

func benchStore(b *testing.B, s *dirstore.Store, files int) {
	ctx := context.Background()
	var takes, puts []time.Duration
	for i := 0; b.Loop(); i++ {
		e := ticket(files + i)
		start := time.Now()
		got, err := s.Take(ctx, "key", 1)
		taken := time.Now()
		if err != nil || len(got) != 1 {
			b.Fatal(err)
		}
		putErr := s.Put(ctx, "key", e)
		puts = append(puts, time.Since(taken))
		takes = append(takes, taken.Sub(start))
		if putErr != nil {
			b.Fatal(putErr)
		}
	}
	quantiles(b, "take", takes)
	quantiles(b, "put", puts)
	b.ReportMetric(0, "ns/op")
}

// BenchmarkMiss takes from a key that never was.
func BenchmarkMiss(b *testing.B) {
	s := open(b, benchDir(b), dirstore.Options{})
	for b.Loop() {
		s.Take(context.Background(), "key", 1)
	}
}

// BenchmarkOpenAndTake is what a program pays that opens the store for one
// entry, with 64 keys of 8 entries there.
func BenchmarkOpenAndTake(b *testing.B) {
	dir := benchDir(b)
	fill(b, open(b, dir, dirstore.Options{}))
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		s := open(b, dir, dirstore.Options{})
		_, err := s.Take(context.Background(), "key7", 1)
		took = append(took, time.Since(start))
		require.NoError(b, err)
		require.NoError(b, s.Put(context.Background(), "key7", ticket(100+i)))
	}
	quantiles(b, "open+take", took)
	b.ReportMetric(0, "ns/op")
}

func fill(b *testing.B, s *dirstore.Store) {
	for k := range 64 {
		for i := range 8 {
			require.NoError(b, s.Put(context.Background(), fmt.Sprintf("key%d", k), ticket(i)))
		}
	}
}

// BenchmarkProcess runs a program that opens the store and takes one entry, and
// the same program when it only exits, in turn: the difference is what the
// store costs it.
func BenchmarkProcess(b *testing.B) {
	program := filepath.Join(b.TempDir(), "once")
	out, err := exec.Command("go", "build", "-o", program, "./testdata/once").CombinedOutput()
	require.NoError(b, err, string(out))
	dir := benchDir(b)
	s := open(b, dir, dirstore.Options{})
	fill(b, s)
	run := func(args ...string) time.Duration {
		start := time.Now()
		require.NoError(b, exec.Command(program, args...).Run())
		return time.Since(start)
	}
	var bare, take []time.Duration
	for i := 0; b.Loop(); i++ {
		bare = append(bare, run())
		take = append(take, run(dir))
		require.NoError(b, s.Put(context.Background(), "key7", ticket(100+i)))
	}
	quantiles(b, "bare", bare)
	quantiles(b, "take", take)
	b.ReportMetric(float64((take[len(take)/2]-bare[len(bare)/2]).Nanoseconds())/1e3, "extra-p50-us")
	b.ReportMetric(0, "ns/op")
}
