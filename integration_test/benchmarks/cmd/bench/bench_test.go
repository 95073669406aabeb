package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
)

// TestMain lets the test binary be what the program starts of itself: the
// servers, and a process that measures.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == serversCommandName || os.Args[1] == "cost") {
		if err := run(os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// bench runs a command and returns what it wrote to a results file.
func bench(t *testing.T, args ...string) measured {
	t.Helper()
	path := filepath.Join(t.TempDir(), "results.jsonl")
	require.NoError(t, run(append(args, "-results", path)))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	m, err := readResults(f)
	require.NoError(t, err)
	require.NotEmpty(t, m.runs)
	return m
}

// The counts are those of a proxy before the server. A cache that gives one
// ticket to everybody shows that it would see a ticket that is used again.
func TestOnlyOthersOfferATicketTwice(t *testing.T) {
	m := bench(t, "handshakes", "-rounds", "2", "-passes", "1", "-server", "go",
		"-workload", strings.Join([]string{parallel1, parallel8, browser, unread1}, ";"))
	for _, arm := range clients.All {
		reused := 0
		for _, workload := range []string{parallel1, parallel8, browser, unread1} {
			r := resultOf(m.handshakes, "go", workload, arm.Name)
			require.NotNil(t, r, "%s, %s", workload, arm.Name)
			require.Positive(t, r.Resumed, "%s, %s", workload, arm.Name)
			require.Positive(t, r.Connections)
			reused += r.Reused
		}
		switch {
		case arm.Ours, arm.Name == clients.Naive:
			require.Zero(t, reused, arm.Name)
		default:
			require.Positive(t, reused, arm.Name)
		}
	}
}

func TestEveryServerIsMeasured(t *testing.T) {
	m := bench(t, "handshakes", "-rounds", "1", "-passes", "1", "-workload", parallel1, "-arms", "standard LRU,Dialer")
	require.Contains(t, serversOf(m.handshakes), "go")
	for _, server := range serversOf(m.handshakes) {
		r := resultOf(m.handshakes, server, parallel1, clients.Dialer)
		require.NotNil(t, r)
		require.Equal(t, r.Connections-1, r.Resumed, "all but the first")
		require.Zero(t, r.Reused)
	}
}

func TestWarmingIsCountedApart(t *testing.T) {
	m := bench(t, "handshakes", "-rounds", "1", "-passes", "1", "-server", "go", "-workload", spikeWarm, "-arms", clients.Dialer+","+clients.Standard)
	require.Len(t, m.handshakes, 1, "the standard LRU cannot be warmed")
	r := m.handshakes[0]
	require.Equal(t, singleBurst+peak, r.Connections)
	require.Equal(t, r.Connections, r.Resumed)
	require.Equal(t, peak, r.Warming)
	require.Less(t, r.rateWithWarming(), 1.0)
}

func TestCostMeasuresEveryArm(t *testing.T) {
	m := bench(t, "cost", "-blocks", "1", "-handshakes", "2", "-attempts", "1")
	require.Len(t, m.costs, 2*len(costArms))
	for _, c := range m.costs {
		require.Positive(t, c.Us)
		require.Positive(t, c.ClientUs)
		require.Less(t, c.ClientUs, c.Us)
		require.Positive(t, c.Allocs)
		require.Empty(t, c.quartiles(), "of one process")
	}
}

func TestCostMeasuresInSeveralProcesses(t *testing.T) {
	m := bench(t, "cost", "-blocks", "1", "-handshakes", "2", "-processes", "3")
	require.Len(t, m.costs, 2*len(costArms))
	for _, c := range m.costs {
		require.Positive(t, c.Low)
		require.LessOrEqual(t, c.Low, c.Ratio)
		require.GreaterOrEqual(t, c.High, c.Ratio)
	}
	require.Error(t, run([]string{"cost", "-processes", "2", "-cpuprofile", "x"}), "of which process?")
	require.NoFileExists(t, "x")
}

// One process that met a slow phase says nothing.
func TestTheMedianOfProcessesCounts(t *testing.T) {
	process := func(again, bound float64) []costResult {
		return []costResult{
			{Exchange: "X25519", Arm: costStandard, Ratio: 1, Us: 100 * bound},
			{Exchange: "X25519", Arm: costAgain, Ratio: again},
			{Exchange: "X25519", Arm: costBound, Ratio: bound},
			{Exchange: "default", Arm: costAgain, Ratio: 1.01},
		}
	}
	got := medians([][]costResult{process(1.001, 1.01), process(0.98, 1.02), process(1.002, 1.5), process(1.001, 1.03), process(1, 1)})
	require.Equal(t, 1.001, got[1].Ratio)
	require.Equal(t, 1.02, got[2].Ratio)
	require.Equal(t, "1.0100-1.0300", got[2].quartiles())
	require.Equal(t, 102.0, got[0].Us)
	for _, c := range got {
		require.Equal(t, c.Exchange == "X25519", c.Valid, c.Exchange)
	}
}

func TestMicroMeasuresEveryOperation(t *testing.T) {
	m := bench(t, "micro", "-passes", "1", "-time", "1ms", "-pairs", "10")
	require.Len(t, m.micros, 12)
	for _, op := range m.micros {
		require.Positive(t, op.Ns, op.Name)
	}
}
