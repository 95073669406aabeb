package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/sessions"
	"github.com/tlsresume/tlsresume/resume"
)

// A memoryRun is what the flags of the command say.
type memoryRun struct {
	shared, own, arms string
}

// A memoryResult is what one server costs one arm.
type memoryResult struct {
	Bench        string  `json:"bench"` // "memory"
	Load         string  `json:"load"`  // how many servers, and whose certificates
	Arm          string  `json:"arm"`
	Certificates string  `json:"certificates"` // "shared" or "own"
	Servers      int     `json:"servers"`
	Bytes        float64 `json:"bytes"`     // of heap per server, after a collection
	OverList     float64 `json:"over_list"` // of that, more than the standard library's
}

// The standard library's cache comes first, the others are compared with it.
var memoryArms = []struct {
	name string
	make func(servers int) tls.ClientSessionCache
}{
	{"standard", tls.NewLRUClientSessionCache},
	{"tlsresume", func(servers int) tls.ClientSessionCache {
		return &resume.ClientCache{MaxServers: servers, MaxBytes: 1 << 40}
	}},
}

func memoryCommand(flags *flag.FlagSet) func(*report.File) error {
	var r memoryRun
	flags.StringVar(&r.shared, "shared", "1000,100000,1000000",
		"`numbers` of servers that show the same certificate")
	flags.StringVar(&r.own, "own", "1000,100000",
		"`numbers` of servers with certificates of their own: a million take 8 GB")
	flags.StringVar(&r.arms, "arms", "", "these `arms` alone, with commas between")
	return r.run
}

func (r *memoryRun) run(results *report.File) error {
	fmt.Printf("%-12s %9s %-10s %12s %12s\n", "certificates", "servers", "arm", "bytes each", "over list")
	for _, part := range []struct{ certificates, numbers string }{{"shared", r.shared}, {"own", r.own}} {
		for number := range strings.SplitSeq(part.numbers, ",") {
			if number == "" {
				continue
			}
			servers, err := strconv.Atoi(number)
			if err != nil || servers < 1 {
				return fmt.Errorf("bench: %q is no number of servers", number)
			}
			if err := r.compare(part.certificates, servers, results); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *memoryRun) compare(certificates string, servers int, results *report.File) error {
	var standard float64
	for _, arm := range memoryArms {
		if !listed(r.arms, arm.name) {
			continue
		}
		bytes, err := perServer(arm.make(servers), certificates == "own", servers)
		if err != nil {
			return err
		}
		if arm.name == memoryArms[0].name {
			standard = bytes
		}
		result := memoryResult{
			Bench: "memory", Load: fmt.Sprintf("%d servers, %s certificates", servers, certificates), Arm: arm.name, Certificates: certificates, Servers: servers,
			Bytes: bytes, OverList: bytes - standard,
		}
		fmt.Printf("%-12s %9d %-10s %12.0f %12.0f\n", certificates, servers, arm.name, result.Bytes, result.OverList)
		if err := results.Write(result); err != nil {
			return err
		}
	}
	return nil
}

// perServer fills a cache with one session each of so many servers and returns
// by how much the heap grew for one.
func perServer(c tls.ClientSessionCache, own bool, servers int) (float64, error) {
	source, err := sessions.NewSource(own)
	if err != nil {
		return 0, err
	}
	before := report.Heap()
	for i := range servers {
		state, err := source.Session(i)
		if err != nil {
			return 0, err
		}
		c.Put(sessions.Name(i), state)
	}
	grown := report.Heap() - before
	if _, ok := c.Get(sessions.Name(servers / 2)); !ok {
		return 0, errors.New("bench: a session that was put is not in the cache")
	}
	runtime.KeepAlive(source)
	return grown / float64(servers), nil
}
