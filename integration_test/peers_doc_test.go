package integration_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table of docs/peers.md is written by
//
//	go test ./integration_test -run 'TestPeers$' -update-peers
//
// and every other run holds what it measures to it, a row for each server that
// is there. Versions may differ: what the document says is to be true of those
// that a contributor has, too.
var updatePeers = flag.Bool("update-peers", false, "write what TestPeers measures to docs/peers.md")

const (
	peersDocument = "../docs/peers.md"
	tableBegins   = "<!-- measured by TestPeers: -->\n"
	tableEnds     = "<!-- end of what was measured -->\n"
)

// columns are what a line of the table says, in order. The second is the
// version.
var columns = []struct {
	title string
	cell  func(finding) string
}{
	{"server", finding.String},
	{"version", func(f finding) string { return f.version }},
	{"TLS 1.3 tickets, full / resumed", func(f finding) string {
		return tickets(f.got.Full, f.got.Resumed, f.got.Resumes)
	}},
	{"they come", func(f finding) string { return f.got.when() }},
	{"lifetime, s", func(f finding) string { return f.got.lifetime() }},
	{"a ticket's first use", func(f finding) string { return use(f.got.Full, f.got.Resumes) }},
	{"its second use", func(f finding) string { return use(f.got.Full, f.got.Twice) }},
	{"in vain after a restart", func(f finding) string { return fmt.Sprint(f.got.Refused) }},
	{"TLS 1.2 sessions, full / resumed", func(f finding) string {
		return tickets(f.got.TLS12[0], f.got.TLS12[1], f.got.TLS12Again)
	}},
	{"TLS 1.2: used again and again", func(f finding) string { return f.got.again() }},
	{"TLS 1.2: in vain after a restart", func(f finding) string { return fmt.Sprint(f.got.TLS12Refused) }},
	{"why", func(f finding) string { return f.why }},
}

func tickets(full, resumed int, resumes bool) string {
	if !resumes {
		return fmt.Sprintf("%d / -", full)
	}
	return fmt.Sprintf("%d / %d", full, resumed)
}

func use(full int, resumes bool) string {
	switch {
	case full == 0:
		return "-"
	case resumes:
		return "resumes"
	}
	return "full handshake"
}

func (f facts) when() string {
	switch {
	case f.Full == 0:
		return "-"
	case f.First && f.Unasked:
		return "unasked, before data"
	case f.First:
		return "asked, before data"
	}
	return "after data"
}

func (f facts) lifetime() string {
	switch {
	case f.Full == 0:
		return "-"
	case f.Remains:
		return fmt.Sprintf("%.0f, what is left of it when resumed", f.Lifetime.Seconds())
	}
	return fmt.Sprintf("%.0f", f.Lifetime.Seconds())
}

func (f facts) again() string {
	switch {
	case f.TLS12[0] == 0:
		return "-"
	case !f.TLS12Again:
		return "no"
	case !f.TLS12Extended:
		return "by crypto/tls, not by the layer"
	}
	return "yes"
}

// cells are a line of the table.
func (f finding) cells() (cells []string) {
	for _, c := range columns {
		cells = append(cells, c.cell(f))
	}
	return cells
}

// measuredTable is the findings, in the order of the matrix.
func measuredTable(all []finding) string {
	var titles, dashes []string
	for _, c := range columns {
		titles, dashes = append(titles, c.title), append(dashes, "---")
	}
	lines := []string{tableLine(titles), tableLine(dashes)}
	for _, r := range matrix {
		for _, f := range all {
			if f.String() == r.String() {
				lines = append(lines, tableLine(f.cells()))
			}
		}
	}
	return strings.Join(lines, "")
}

func tableLine(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }

func checkDocument(t *testing.T, all []finding) {
	measured := measuredTable(all)
	t.Log("\n" + measured)
	content, err := os.ReadFile(peersDocument)
	require.NoError(t, err)
	before, rest, begins := strings.Cut(string(content), tableBegins)
	committed, after, ends := strings.Cut(rest, tableEnds)
	require.True(t, begins && ends, "%s has no place for the table", peersDocument)

	if *updatePeers {
		require.Len(t, all, len(matrix), "the document is written by a run with every peer")
		content = []byte(before + tableBegins + measured + tableEnds + after)
		require.NoError(t, os.WriteFile(peersDocument, content, 0o644))
		return
	}
	want, got := unversioned(committed), unversioned(measured)
	for _, line := range got {
		assert.Contains(t, want, line, "%s is not up to date", peersDocument)
	}
	if len(all) == len(matrix) {
		assert.Equal(t, got, want, "it has no other lines, and the same order")
	}
}

// unversioned is the lines of a table without the column that may differ.
func unversioned(table string) (lines []string) {
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		lines = append(lines, strings.Join(slices.Delete(cells, 1, min(2, len(cells))), " | "))
	}
	return lines
}
