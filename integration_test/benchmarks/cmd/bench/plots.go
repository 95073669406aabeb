package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/clients"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/plot"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
)

func plotCommand(flags *flag.FlagSet) func(*report.File) error {
	from := flags.String("from", "../../docs/performance/results.jsonl", "results `file`")
	dir := flags.String("dir", "../../docs/performance", "`directory` for the plots")
	doc := flags.String("doc", "../../docs/performance.md", "`file` whose tables are renewed")
	return func(*report.File) error { return document(*from, *dir, *doc) }
}

// document makes the plots and renews the tables.
func document(from, dir, doc string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := readResults(f)
	if err != nil {
		return err
	}
	for name, chart := range charts(&m) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(chart.SVG()), 0o644); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	renewed, err := renew(string(text), sections(&m))
	if err != nil {
		return fmt.Errorf("bench: %s: %w", doc, err)
	}
	return os.WriteFile(doc, []byte(renewed), 0o644)
}

// charts are the plots that the results allow, by file name.
func charts(m *measured) map[string]*plot.Chart {
	all := make(map[string]*plot.Chart)
	for _, server := range serversOf(m.handshakes) {
		all["resumed-"+server+".svg"] = resumedChart(m.handshakes, server)
	}
	if len(m.costs) > 0 {
		all["cost.svg"] = costChart(m.costs)
	}
	if len(m.pools) > 0 {
		all["pool.svg"] = poolChart(m.pools)
	}
	if len(m.memories) > 0 {
		all["memory.svg"] = memoryChart(m.memories)
	}
	return all
}

// plottedArms leaves out those that would look like another: golang-lru and
// otter like the standard LRU, TLSConfig like the plugged way.
var plottedArms = []string{clients.Standard, clients.Naive, clients.Plugged, clients.Dialer, clients.Stored, clients.Near}

var serverTitles = map[string]string{"go": "a Go server", "nginx": "nginx", "openssl": "openssl s_server"}

func resumedChart(results []handshakeResult, server string) *plot.Chart {
	c := &plot.Chart{
		Title:    "Connections that resumed, against " + serverTitles[server],
		Subtitle: "golang-lru and otter do what the standard LRU does, TLSConfig what the plugged way does",
		Legend:   []plot.Key{{Name: "resumed, with a ticket never offered before", Colour: plot.Blue}, {Name: "offered a ticket that was offered before", Colour: plot.Orange}},
		Columns:  2, To: 100, Ticks: []float64{0, 25, 50, 75, 100}, Tick: "%.0f %%",
	}
	grouped(c, results, func(r *handshakeResult) (string, *plot.Bar) {
		if r.Server != server || !slices.Contains(plottedArms, r.Arm) {
			return "", nil
		}
		reused := 100 * min(r.reuse(), r.rate())
		return r.Workload, &plot.Bar{Label: r.Arm, Text: fmt.Sprintf("%.1f %%", 100*r.rate()), Parts: []plot.Part{
			{Value: reused, Colour: plot.Orange}, {Value: 100*r.rate() - reused, Colour: plot.Blue},
		}}
	})
	return c
}

func costChart(results []costResult) *plot.Chart {
	c := &plot.Chart{
		Title:    "CPU of a resumed connection",
		Subtitle: "client and server together, to that with the standard LRU",
		From:     0.98, Tick: "%.2f", Mark: maxCost, MarkName: "target",
	}
	for _, r := range results {
		c.To = max(c.To, r.Ratio)
	}
	for tick := 98; ; tick += 2 { // per cent
		c.Ticks = append(c.Ticks, float64(tick)/100)
		if float64(tick)/100 >= c.To {
			c.To = float64(tick) / 100
			break
		}
	}
	grouped(c, results, func(r *costResult) (string, *plot.Bar) {
		colour := plot.Blue
		if r.Arm == costStandard || r.Arm == costAgain {
			colour = plot.Grey
		}
		return "key exchange: " + r.Exchange, &plot.Bar{
			Label: r.Arm, Text: fmt.Sprintf("%.4f", r.Ratio), Parts: []plot.Part{{Value: r.Ratio - c.From, Colour: colour}},
		}
	})
	return c
}

func poolChart(results []poolResult) *plot.Chart {
	c := &plot.Chart{
		Title:    "Take and put, eight goroutines",
		Subtitle: "how many times as fast as a mutex and a list",
		Columns:  2, Tick: "%.1f", Mark: 1, MarkName: "list",
	}
	most := 1.0
	for _, r := range results {
		most = max(most, r.AtList)
	}
	c.Ticks = plot.Ticks(most)
	c.To = c.Ticks[len(c.Ticks)-1]
	grouped(c, results, func(r *poolResult) (string, *plot.Bar) {
		return poolTitles[r.Load], &plot.Bar{
			Label: r.Arm, Text: fmt.Sprintf("%.2f", r.AtList), Parts: []plot.Part{{Value: r.AtList, Colour: ourColour(r.Arm == "pool")}},
		}
	})
	return c
}

var poolTitles = map[string]string{
	"10k": "10 000 keys", "10k-evicting": "10 000 keys, room for half",
	"1M": "1 000 000 keys", "1M-evicting": "1 000 000, room for half", "hot": "one key",
	"zipf-1%": "skewed, room for 1 %", "zipf-10%": "skewed, room for 10 %",
}

func memoryChart(results []memoryResult) *plot.Chart {
	c := &plot.Chart{Title: "Memory for each server", Subtitle: "bytes of the heap after a collection", Columns: 2, Tick: "%.0f"}
	most := 1.0
	for _, r := range results {
		most = max(most, r.Bytes)
	}
	c.Ticks = plot.Ticks(most)
	c.To = c.Ticks[len(c.Ticks)-1]
	grouped(c, results, func(r *memoryResult) (string, *plot.Bar) {
		return r.Load, &plot.Bar{
			Label: r.Arm, Text: fmt.Sprintf("%.0f", r.Bytes), Parts: []plot.Part{{Value: r.Bytes, Colour: ourColour(r.Arm == "tlsresume")}},
		}
	})
	return c
}

func ourColour(ours bool) plot.Colour {
	if ours {
		return plot.Blue
	}
	return plot.Grey
}

// grouped adds a bar for each result, to the group that it names.
func grouped[T any](c *plot.Chart, results []T, bar func(*T) (group string, bar *plot.Bar)) {
	for i := range results {
		name, b := bar(&results[i])
		if b == nil {
			continue
		}
		at := slices.IndexFunc(c.Groups, func(g plot.Group) bool { return g.Name == name })
		if at < 0 {
			at = len(c.Groups)
			c.Groups = append(c.Groups, plot.Group{Name: name})
		}
		c.Groups[at].Bars = append(c.Groups[at].Bars, *b)
	}
}
