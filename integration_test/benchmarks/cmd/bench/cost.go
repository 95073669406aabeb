package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/inmemory"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
	"github.com/tlsresume/tlsresume/internal/cputime"
	"github.com/tlsresume/tlsresume/resume"
)

// A costRun is what the flags of the command say.
type costRun struct {
	blocks, handshakes, attempts, processes int
	profiles                                profiles
}

// A costResult is what a resumed connection costs with one cache: everything
// of the one process that is client and server, and the client's part of it.
type costResult struct {
	Bench    string  `json:"bench"`    // "cost"
	Exchange string  `json:"exchange"` // "default" or "X25519"
	Arm      string  `json:"arm"`
	Ratio    float64 `json:"ratio"`         // CPU time of the process, to the standard LRU's: median of the blocks
	Low      float64 `json:"low"`           // of several processes, whose median Ratio then is: the quartiles
	High     float64 `json:"high"`          //
	Client   float64 `json:"client_ratio"`  // the same of the client's part
	Elapsed  float64 `json:"elapsed_ratio"` // the same by the clock on the wall
	Us       float64 `json:"cpu_us"`        // CPU time for a connection, median of the blocks
	ClientUs float64 `json:"client_us"`     // the client's part of it
	Allocs   float64 `json:"allocs"`        // for a connection, client and server
	AA       float64 `json:"aa"`            // Ratio of the second standard arm, of this attempt
	Attempts int     `json:"attempts"`      // in one process
	Valid    bool    `json:"valid"`         // AA is near enough to 1
}

// maxAA is how far two arms that are the same may be apart.
const maxAA = 0.003

// maxCost is the target.
const maxCost = 1.01

const (
	costStandard = "standard LRU"
	costAgain    = "standard LRU again" // the A/A arm
	costPlugged  = "plugged"
	costConfig   = "TLSConfig"
	costBound    = "NewConn"
)

// costArms make a connection of the end that they are given.
var costArms = []struct {
	name string
	new  func(config *tls.Config) func(raw net.Conn) net.Conn
}{
	{costStandard, standardCost},
	{costPlugged, func(config *tls.Config) func(net.Conn) net.Conn {
		return pluggedCost(config, new(resume.ClientCache))
	}},
	{costAgain, standardCost},
	{costConfig, func(config *tls.Config) func(net.Conn) net.Conn {
		own := new(resume.ClientCache).TLSConfig(config)
		return func(raw net.Conn) net.Conn { return tls.Client(raw, own) }
	}},
	{costBound, func(config *tls.Config) func(net.Conn) net.Conn {
		scope := new(resume.ClientCache).NewScope() // what a Dialer does with its raw connection
		return func(raw net.Conn) net.Conn { return scope.NewConn(raw, config) }
	}},
}

func standardCost(config *tls.Config) func(net.Conn) net.Conn {
	return pluggedCost(config, tls.NewLRUClientSessionCache(0))
}

func pluggedCost(config *tls.Config, cache tls.ClientSessionCache) func(net.Conn) net.Conn {
	own := config.Clone()
	own.ClientSessionCache = cache
	return func(raw net.Conn) net.Conn { return tls.Client(raw, own) }
}

func costCommand(flags *flag.FlagSet) func(*report.File) error {
	var r costRun
	flags.IntVar(&r.blocks, "blocks", 12, "of which the median is taken")
	flags.IntVar(&r.handshakes, "handshakes", 100, "of each arm in a block")
	flags.IntVar(&r.attempts, "attempts", 5, "to have two arms that are the same within 0.3 %")
	flags.IntVar(&r.processes, "processes", 1, "whose median is taken, one after the other")
	r.profiles.flags(flags)
	return r.run
}

// exchanges are the key exchanges that are measured.
var exchanges = []string{"default", "X25519"}

func (r *costRun) run(results *report.File) error {
	measure := r.inThisProcess
	if r.processes > 1 {
		measure = r.inProcesses
	}
	all, err := measure()
	if err != nil {
		return err
	}
	fmt.Println("CPU of a resumed connection, client and server in one process on one processor, to the standard LRU.")
	fmt.Printf("%-8s %-19s %8s %15s %8s %8s %8s %9s %7s\n", "exchange", "arm",
		"x cpu", "quartiles", "x client", "x time", "cpu us", "client us", "allocs")
	for _, c := range all {
		fmt.Printf("%-8s %-19s %8.4f %15s %8.4f %8.4f %8.1f %9.1f %7.1f\n", c.Exchange, c.Arm,
			c.Ratio, c.quartiles(), c.Client, c.Elapsed, c.Us, c.ClientUs, c.Allocs)
		if err := results.Write(c); err != nil {
			return err
		}
	}
	fmt.Println()
	printVerdicts(os.Stdout, costVerdicts(all))
	return nil
}

// quartiles is what lies between them, of several processes.
func (c *costResult) quartiles() string {
	if c.High == 0 {
		return ""
	}
	return fmt.Sprintf("%.4f-%.4f", c.Low, c.High)
}

func (r *costRun) inThisProcess() (all []costResult, err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	// The ballast stands for the heap of a program: without one, much of what
	// is measured is the collector.
	ballast := make([]byte, 64<<20)
	defer runtime.KeepAlive(ballast)
	stop, err := r.profiles.start()
	if err != nil {
		return nil, err
	}
	defer func() { err = stop(err) }()
	for _, exchange := range exchanges {
		got, err := r.exchange(exchange)
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	return all, nil
}

// exchange measures with one key exchange until the A/A arm agrees, and
// otherwise returns the last attempt, which says so.
func (r *costRun) exchange(exchange string) (results []costResult, err error) {
	server, err := inmemory.NewServer()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	config := server.Config
	if exchange == "X25519" {
		config = config.Clone()
		config.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	for attempt := 1; attempt <= r.attempts; attempt++ {
		arms, err := r.measure(server, config)
		if err != nil {
			return nil, err
		}
		results = costResults(exchange, arms, attempt)
		if results[0].Valid {
			break
		}
		fmt.Printf("%-8s attempt %d: two arms that are the same differ by %.2f %%, more than 0.3 %%\n",
			exchange, attempt, 100*(results[0].AA-1))
	}
	return results, nil
}

// A costArm is an arm and what its blocks took, for each connection.
type costArm struct {
	name                 string
	connect              func(net.Conn) net.Conn
	cpu, client, elapsed []float64 // microseconds
	allocs               float64
	block                spent
}

// spent is what a number of connections took together.
type spent struct{ cpu, client, elapsed time.Duration }

// measure lets the arms take turns with every handshake, in another order each
// time: whoever follows an arm that does more finds less in the processor's
// caches.
func (r *costRun) measure(server *inmemory.Server, config *tls.Config) (arms []*costArm, err error) {
	for _, a := range costArms {
		arm := &costArm{name: a.name, connect: a.new(config)}
		if _, err := arm.one(server); err != nil { // a full handshake
			return nil, err
		}
		arms = append(arms, arm)
	}
	for block := range r.blocks + 1 {
		for range r.handshakes {
			for _, j := range rand.Perm(len(arms)) {
				arm := arms[j]
				resumed, err := arm.one(server)
				if err != nil {
					return nil, err
				}
				if !resumed {
					return nil, fmt.Errorf("bench: a connection of the arm %s did not resume", arm.name)
				}
			}
		}
		for _, arm := range arms {
			arm.end(r.handshakes, block > 0) // the first block warms up
		}
	}
	for _, arm := range arms {
		if err := arm.countAllocs(server, r.handshakes); err != nil {
			return nil, err
		}
	}
	return arms, nil
}

// countAllocs makes connections apart from those that are timed: to count
// stops the world.
func (a *costArm) countAllocs(server *inmemory.Server, connections int) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range connections {
		if _, err := a.one(server); err != nil {
			return err
		}
	}
	runtime.ReadMemStats(&after)
	a.allocs = float64(after.Mallocs-before.Mallocs) / float64(connections)
	return nil
}

// end ends a block.
func (a *costArm) end(handshakes int, counts bool) {
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(handshakes) }
	if counts {
		a.cpu = append(a.cpu, each(a.block.cpu))
		a.client = append(a.client, each(a.block.client))
		a.elapsed = append(a.elapsed, each(a.block.elapsed))
	}
	a.block = spent{}
}

// one makes a connection, sends a byte, reads the answer, which brings the
// ticket, and closes.
func (a *costArm) one(server *inmemory.Server) (resumed bool, err error) {
	cpu, began := cputime.Process(), time.Now()
	raw := server.Dial()
	conn := a.connect(raw)
	b := [1]byte{1}
	if _, err = conn.Write(b[:]); err == nil {
		_, err = conn.Read(b[:])
	}
	resumed = conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState().DidResume
	conn.Close()
	a.block.client += raw.Spent()
	runtime.Gosched() // the server's end of it
	a.block.cpu += cputime.Process() - cpu
	a.block.elapsed += time.Since(began)
	return resumed, err
}

func costResults(exchange string, arms []*costArm, attempt int) (results []costResult) {
	standard := arms[0]
	for _, a := range arms {
		results = append(results, costResult{
			Bench: "cost", Exchange: exchange, Arm: a.name, Attempts: attempt,
			Ratio:    medianRatio(a.cpu, standard.cpu),
			Client:   medianRatio(a.client, standard.client),
			Elapsed:  medianRatio(a.elapsed, standard.elapsed),
			Us:       report.Median(a.cpu),
			ClientUs: report.Median(a.client),
			Allocs:   a.allocs,
		})
	}
	judgeAA(pointers(results))
	return results
}

// judgeAA notes with all results of a key exchange how far the two arms are
// apart that are the same.
func judgeAA(results []*costResult) {
	var aa float64
	for _, c := range results {
		if c.Arm == costAgain {
			aa = c.Ratio
		}
	}
	for _, c := range results {
		c.AA, c.Valid = aa, math.Abs(aa-1) <= maxAA
	}
}

func pointers(results []costResult) (all []*costResult) {
	for i := range results {
		all = append(all, &results[i])
	}
	return all
}

// medianRatio is the median of what each block of one arm took of the same
// block of another.
func medianRatio(of, to []float64) float64 {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = of[i] / to[i]
	}
	return report.Median(ratios)
}

func costVerdicts(results []costResult) (verdicts []verdict) {
	for _, c := range results {
		switch c.Arm {
		case costPlugged, costBound:
			verdicts = append(verdicts, verdict{"CPU of a resumed connection, of the standard LRU's", c.Arm + ", " + c.Exchange, c.Ratio, true, maxCost})
		case costAgain:
			verdicts = append(verdicts, verdict{"two arms that are the same: apart", c.Exchange, math.Abs(c.AA - 1), true, maxAA})
		}
	}
	return verdicts
}
