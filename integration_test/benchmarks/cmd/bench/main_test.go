package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// results runs a command and reads the file that it wrote, without the line
// about the run itself.
func results[T any](t *testing.T, args ...string) (all []T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "results")
	require.NoError(t, run(append(args[:1:1], append([]string{"-results", path}, args[1:]...)...)))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	require.True(t, lines.Scan())
	for lines.Scan() {
		var result T
		require.NoError(t, json.Unmarshal(lines.Bytes(), &result))
		all = append(all, result)
	}
	return all
}

func TestPoolComparesAllArms(t *testing.T) {
	all := results[poolResult](t, "pool", "-load", "10k,hot", "-rounds", "3", "-warmup", "1", "-pairs", "8000")
	require.Len(t, all, 10)
	for _, r := range all {
		require.Positive(t, r.Ns, r.Arm)
		require.Positive(t, r.AtOtter, r.Arm)
		require.Equal(t, r.Arm == "list", r.AtList == 1, r.Arm)
		if r.Load == "10k" {
			require.InDelta(t, 1, r.Hits, 0.02, r.Arm) // two may want one key at once
		}
	}
}

func TestSkewDecidesHowManyTakesFindSomething(t *testing.T) {
	hits := map[string]float64{}
	args := []string{"pool", "-rounds", "2", "-pairs", "100000", "-goroutines", "1", "-arms", "pool,list", "-load"}
	for _, r := range results[poolResult](t, append(args, "zipf-10%")...) {
		hits[r.Arm] = r.Hits
	}
	require.InDelta(t, 0.75, hits["list"], 0.02, "an LRU")
	require.InDelta(t, 0.80, hits["pool"], 0.02, "SIEVE")
}

func TestMemoryComparesWithTheStandardLibrary(t *testing.T) {
	all := results[memoryResult](t, "memory", "-shared", "2000", "-own", "2000", "-bound", "200")
	require.Len(t, all, 6)
	for _, r := range all {
		require.Positive(t, r.Bytes)
		require.Equal(t, r.Arm == "standard", r.OverList == 0)
	}
	require.Greater(t, all[4].Bytes, 2*all[2].Bytes, "certificates of their own")
}

func TestUnknownCommandsAreRefused(t *testing.T) {
	require.ErrorContains(t, run(nil), "usage")
	require.ErrorContains(t, run([]string{"none"}), "usage")
	require.ErrorContains(t, run([]string{"memory", "-shared", "x"}), "x")
}
