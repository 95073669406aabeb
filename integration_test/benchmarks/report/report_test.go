package report

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedianIsTheMiddle(t *testing.T) {
	values := []float64{9, 1, 5}
	require.Equal(t, 5.0, Median(values))
	require.Equal(t, []float64{9, 1, 5}, values, "which stay as they are")
	require.Equal(t, 3.0, Median([]float64{9, 1, 5, 1}))
	require.Equal(t, 7.0, Median([]float64{7}))
}

func TestResultsAreAppendedAsLinesAfterTheirRun(t *testing.T) {
	type result struct {
		Bench string  `json:"bench"`
		Ns    float64 `json:"ns"`
	}
	path := filepath.Join(t.TempDir(), "results")
	for i := range 2 {
		file, err := Append(path, []string{"pool"})
		require.NoError(t, err)
		require.NoError(t, file.Write(result{"pool", float64(i)}))
		require.NoError(t, file.Close())
	}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var kinds []any
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		kinds = append(kinds, line["bench"])
	}
	require.Equal(t, []any{"run", "pool", "run", "pool"}, kinds)
}

func TestWithoutAPathNothingIsWritten(t *testing.T) {
	file, err := Append("", nil)
	require.NoError(t, err)
	require.NoError(t, file.Write(struct{}{}))
	require.NoError(t, file.Close())
}

var kept []byte

func TestHeapGrowsByWhatIsKept(t *testing.T) {
	before := Heap()
	kept = make([]byte, 32<<20)
	require.InDelta(t, 32<<20, Heap()-before, 1<<20)
	kept = nil
	require.InDelta(t, before, Heap(), 1<<20)
}
