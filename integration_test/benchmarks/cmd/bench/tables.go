package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
)

// A document has, for each section, a pair of lines between which everything is
// replaced.
const (
	sectionBegin = "<!-- bench:%s -->"
	sectionEnd   = "<!-- bench end -->"
)

// renew replaces the sections of a document.
func renew(doc string, sections map[string]string) (string, error) {
	for name, text := range sections {
		begin := fmt.Sprintf(sectionBegin, name)
		before, rest, ok := strings.Cut(doc, begin)
		if !ok {
			return "", fmt.Errorf("no line %s", begin)
		}
		_, after, ok := strings.Cut(rest, sectionEnd)
		if !ok {
			return "", fmt.Errorf("no line %s after %s", sectionEnd, begin)
		}
		doc = before + begin + "\n" + text + sectionEnd + after
	}
	return doc, nil
}

// sections are the tables.
func sections(m *measured) map[string]string {
	return map[string]string{
		"runs":       runsTable(m.runs),
		"resumed":    resumedTables(m.handshakes),
		"warm":       warmTable(m.handshakes),
		"latency":    latencyTable(m.handshakes),
		"cost":       costTable(m.costs),
		"micro":      microTable(m.micros),
		"pool":       poolTable(m.pools),
		"memory":     memoryTable(m.memories),
		"short":      verdictsTable(m, false),
		"kept":       verdictsTable(m, true),
		"poolplot":   image(len(m.pools) > 0, "pool.svg", "Take and put of the pool against other structures"),
		"memoryplot": image(len(m.memories) > 0, "memory.svg", "Memory for each server"),
	}
}

func image(there bool, file, alt string) string {
	if !there {
		return ""
	}
	return fmt.Sprintf("![%s](performance/%s)\n", alt, file)
}

// A table is Markdown.
type table struct{ b strings.Builder }

// newTable has its first columns to the left and the others to the right.
func newTable(left int, heads ...string) *table {
	t := new(table)
	t.row(heads...)
	rule := make([]string, len(heads))
	for i := range rule {
		if rule[i] = "---"; i >= left {
			rule[i] = "---:"
		}
	}
	t.row(rule...)
	return t
}

func (t *table) row(cells ...string) { t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

// String says so if nothing was measured.
func (t *table) String() string {
	if strings.Count(t.b.String(), "\n") <= 2 {
		return "Not measured yet.\n"
	}
	return t.b.String()
}

func runsTable(runs []runShown) string {
	t := newTable(3, "command", "began", "Go", "processors")
	for _, r := range runs {
		t.row("`bench "+strings.Join(r.Command, " ")+"`", r.Began.Format("2006-01-02 15:04 MST"), r.Go+" "+r.System, fmt.Sprint(r.CPUs))
	}
	return t.String()
}

// resumedTables have, for each server, a line for each workload and a column
// for each arm.
func resumedTables(results []handshakeResult) string {
	var b strings.Builder
	for _, server := range serversOf(results) {
		heads := []string{serverTitles[server]}
		for _, arm := range clients.All {
			heads = append(heads, arm.Name)
		}
		t := newTable(1, heads...)
		for _, workload := range workloadsOf(results, server) {
			cells, cold := []string{workload}, false
			for _, arm := range clients.All {
				r := resultOf(results, server, workload, arm.Name)
				if r == nil {
					cells = append(cells, "")
					continue
				}
				cold = cold || r.Warming == 0
				cells = append(cells, percents(r))
			}
			if cold {
				t.row(cells...)
			}
		}
		b.WriteString(t.String() + "\n")
	}
	if b.Len() == 0 {
		return "Not measured yet.\n"
	}
	return b.String()
}

// percents are the resumed and, if there are any, the reused.
func percents(r *handshakeResult) string {
	if r.Reused == 0 {
		return fmt.Sprintf("%.1f", 100*r.rate())
	}
	return fmt.Sprintf("%.1f (%.0f)", 100*r.rate(), 100*r.reuse())
}

func warmTable(results []handshakeResult) string {
	t := newTable(3, "server", "workload", "arm", "cold %", "after Warm %", "handshakes to warm up", "counting them %")
	cold := map[string]string{rampWarm: rampCold, spikeWarm: spikeCold}
	for _, r := range results {
		if r.Warming == 0 {
			continue
		}
		before := ""
		if c := resultOf(results, r.Server, cold[r.Workload], r.Arm); c != nil {
			before = fmt.Sprintf("%.1f", 100*c.rate())
		}
		t.row(r.Server, cold[r.Workload], r.Arm, before, fmt.Sprintf("%.1f", 100*r.rate()),
			fmt.Sprintf("%.0f", float64(r.Warming)/float64(r.Passes)), fmt.Sprintf("%.1f", 100*r.rateWithWarming()))
	}
	return t.String()
}

// latencyTable is of the three steady workloads.
func latencyTable(results []handshakeResult) string {
	t := newTable(3, "server", "workload", "arm", "client CPU, us", "dial p50, us", "dial p99, us", "allocations")
	for _, r := range results {
		switch r.Workload {
		case parallel1, parallel8, parallel64:
			t.row(r.Server, r.Workload, r.Arm, fmt.Sprintf("%.0f", r.CPU), fmt.Sprintf("%.0f", r.P50),
				fmt.Sprintf("%.0f", r.P99), fmt.Sprintf("%.0f", r.Allocs))
		}
	}
	return t.String()
}

func costTable(results []costResult) string {
	t := newTable(2, "key exchange", "arm", "CPU, ratio", "quartiles", "client's part, ratio", "CPU, us", "client's part, us", "allocations", "A/A within 0.3 %")
	for _, c := range results {
		valid := "yes"
		if !c.Valid {
			valid = fmt.Sprintf("**no**: %.4f", c.AA)
		}
		t.row(c.Exchange, c.Arm, fmt.Sprintf("%.4f", c.Ratio), c.quartiles(), fmt.Sprintf("%.4f", c.Client), fmt.Sprintf("%.1f", c.Us),
			fmt.Sprintf("%.1f", c.ClientUs), fmt.Sprintf("%.0f", c.Allocs), valid)
	}
	return t.String()
}

func microTable(results []microResult) string {
	t := newTable(1, "operation", "us", "p99, us", "allocations")
	for _, m := range results {
		p99, allocs := "", fmt.Sprintf("%.0f", m.Allocs)
		if m.P99 > 0 {
			p99, allocs = fmt.Sprintf("%.0f", m.P99/1e3), ""
		}
		t.row(m.Name, fmt.Sprintf("%.2f", m.Ns/1e3), p99, allocs)
	}
	return t.String()
}

func poolTable(results []poolResult) string {
	t := newTable(2, "load", "structure", "ns", "allocations", "x list", "x otter")
	for _, r := range results {
		t.row(r.Load, r.Arm, fmt.Sprintf("%.0f", r.Ns), fmt.Sprintf("%.0f", r.Allocs),
			fmt.Sprintf("%.2f", r.AtList), fmt.Sprintf("%.2f", r.AtOtter))
	}
	return t.String()
}

func memoryTable(results []memoryResult) string {
	t := newTable(2, "servers", "cache", "bytes for each", "over the standard LRU")
	for _, r := range results {
		t.row(r.Load, r.Arm, fmt.Sprintf("%.0f", r.Bytes), fmt.Sprintf("%.0f", r.OverList))
	}
	return t.String()
}

// verdictsTable has the targets that were met, or those that were not.
func verdictsTable(m *measured, met bool) string {
	t := newTable(2, "target", "where", "to be", "is")
	for _, v := range slices.Concat(handshakeVerdicts(m.handshakes), costVerdicts(m.costs), poolVerdicts(m.pools), memoryVerdicts(m.memories)) {
		if v.passed() != met {
			continue
		}
		sign := "at least"
		if v.AtMost {
			sign = "at most"
		}
		t.row(v.Target, v.Where, fmt.Sprintf("%s %.4g", sign, v.Bound), fmt.Sprintf("%.5g", v.Got))
	}
	if text := t.String(); strings.HasPrefix(text, "|") {
		return text
	}
	return "None.\n"
}

func workloadsOf(results []handshakeResult, server string) (names []string) {
	seen := make(map[string]bool)
	for _, r := range results {
		if r.Server == server && !seen[r.Workload] {
			seen[r.Workload] = true
			names = append(names, r.Workload)
		}
	}
	return names
}

// resultOf is nil if there is none.
func resultOf(results []handshakeResult, server, workload, arm string) *handshakeResult {
	for i := range results {
		if r := &results[i]; r.Server == server && r.Workload == workload && r.Arm == arm {
			return r
		}
	}
	return nil
}
