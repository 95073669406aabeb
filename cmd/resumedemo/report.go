package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// A report is what -json prints.
type report struct {
	Workloads []workload `json:"workloads"`
}

// A result is what became of a workload's connections with one cache.
type result struct {
	Cache       string  `json:"cache"`
	Connections int     `json:"connections"`
	Resumed     int     `json:"resumed"`
	Reused      int     `json:"reused"`   // offered a ticket used before: the server's word
	Captured    int     `json:"captured"` // tickets that reached the cache
	CPU         float64 `json:"cpu_us"`   // per connection, of this process
}

// verdict fails the program if this layer let one ticket out twice.
func (r *report) verdict() error {
	for _, w := range r.Workloads {
		if n := w.Results[1].Reused; n > 0 {
			return fmt.Errorf("%s on %s: %d connections offered a ticket that was used before", w.Name, w.Server, n)
		}
	}
	return nil
}

// print is the table of the README.
func (r *report) print(out io.Writer) {
	fmt.Fprintln(out, "The same bursts of connections through two session caches. A burst sends all its ClientHellos at once;\nthe first of each run is cold. What was offered twice is what the server saw.")
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "server\tworkload\tcache\tconnections\tresumed\toffered a used ticket\ttickets captured\tclient CPU\t")
	var offered [2]int
	var all, resumed [2]int
	for _, w := range r.Workloads {
		for i, x := range w.Results {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%.0f us\t\n", w.Server, w.Name, x.Cache,
				x.Connections, percent(x.Resumed, x.Connections), percent(x.Reused, x.Connections), x.Captured, x.CPU)
			offered[i] += x.Reused
			resumed[i] += x.Resumed
			all[i] += x.Connections
		}
	}
	table.Flush()
	fmt.Fprintf(out, "\nStandard: %s resumed, %d of %d connections offered a used ticket. tlsresume: %s resumed, %d of %d.\n",
		percent(resumed[0], all[0]), offered[0], all[0], percent(resumed[1], all[1]), offered[1], all[1])
	fmt.Fprint(out, "Over TCP, resumption saves CPU and bytes, not a round trip.\n\n")
}

func percent(n, of int) string { return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(of)) }
