package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
)

const docs = "../../../../docs/"

// What is committed says what the results file says.
func TestDocsComeFromTheResultsFile(t *testing.T) {
	dir := t.TempDir()
	doc := filepath.Join(dir, "performance.md")
	committed := read(t, docs+"performance.md")
	require.NoError(t, os.WriteFile(doc, []byte(committed), 0o600))
	require.NoError(t, document(docs+"performance/results.jsonl", dir, doc))
	require.Equal(t, committed, read(t, doc))
	plots, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	require.NoError(t, err)
	require.NotEmpty(t, plots)
	kept, err := filepath.Glob(docs + "performance/*.svg")
	require.NoError(t, err)
	require.Len(t, kept, len(plots), "plots of results that are not there")
	for _, plot := range plots {
		svg := read(t, plot)
		require.Equal(t, read(t, docs+"performance/"+filepath.Base(plot)), svg, plot)
		requireXML(t, svg)
		require.Contains(t, committed, "performance/"+filepath.Base(plot))
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

func requireXML(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestALaterLineReplacesAnEarlierOneAboutTheSame(t *testing.T) {
	m, err := readResults(strings.NewReader(`{"bench":"cost","exchange":"X25519","arm":"plugged","ratio":1.5}
{"bench":"cost","exchange":"default","arm":"plugged","ratio":1.2}

{"bench":"cost","exchange":"X25519","arm":"plugged","ratio":1.1}
`))
	require.NoError(t, err)
	require.Len(t, m.costs, 2)
	require.InDelta(t, 1.1, m.costs[0].Ratio, 1e-9)
	_, err = readResults(strings.NewReader(`{"bench":"unheard of"}`))
	require.ErrorContains(t, err, "line 1")
}

func TestRenewKeepsWhatIsAroundASection(t *testing.T) {
	got, err := renew("a\n<!-- bench:x -->\nold\n<!-- bench end -->\nb\n", map[string]string{"x": "new\n"})
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- bench:x -->\nnew\n<!-- bench end -->\nb\n", got)
	_, err = renew("a\n", map[string]string{"x": ""})
	require.Error(t, err)
	_, err = renew("<!-- bench:x -->\n", map[string]string{"x": ""})
	require.Error(t, err)
}

func TestVerdictsFallShortWhenTheyShould(t *testing.T) {
	result := func(workload, arm string, resumed, reused int) handshakeResult {
		return handshakeResult{Server: "go", Workload: workload, Arm: arm, Connections: 100, Resumed: resumed, Reused: reused, Passes: 1}
	}
	for _, row := range []struct {
		why     string
		results []handshakeResult
		short   []string
	}{
		{"as often as the standard LRU", []handshakeResult{result(parallel8, clients.Standard, 95, 80), result(parallel8, clients.Plugged, 95, 0)}, nil},
		{"less often", []handshakeResult{result(parallel8, clients.Standard, 95, 80), result(parallel8, clients.Plugged, 94, 0)}, []string{"8 parallel: resumed, of the standard LRU's"}},
		{"one ticket used twice", []handshakeResult{result(browser, clients.Dialer, 95, 1)}, []string{"connections that offered a used ticket"}},
		{"unread", []handshakeResult{result(unread1, clients.Dialer, 98, 0)}, []string{"1, 10% unread: resumed"}},
		{"unread, not promised", []handshakeResult{result(unread1, clients.Plugged, 90, 0)}, nil},
		{"unread at 64", []handshakeResult{result(parallel64, clients.Dialer, 95, 0), result(unread64, clients.Dialer, 90, 0)}, []string{"64, 10% unread: resumed, of that without"}},
		{"cold after Warm", []handshakeResult{result(rampWarm, clients.Dialer, 98, 0)}, []string{"ramp, warm: resumed of the measured connections"}},
	} {
		var short []string
		for _, v := range handshakeVerdicts(row.results) {
			if !v.passed() {
				short = append(short, v.Target)
			}
		}
		require.Equal(t, row.short, short, row.why)
	}
}

func TestPoolVerdictsCompareOnlyThePool(t *testing.T) {
	verdicts := poolVerdicts([]poolResult{
		{Load: "10k", Arm: "pool", AtList: 1.9, AtOtter: 1, Allocs: 0.001},
		{Load: "10k", Arm: "otter", AtList: 1, AtOtter: 1, Allocs: 3},
		{Load: "hot", Arm: "pool", AtList: 0.9, AtOtter: 4},
	})
	require.Len(t, verdicts, 3)
	require.False(t, verdicts[0].passed())
	require.True(t, verdicts[1].passed())
	require.True(t, verdicts[2].passed())
}
