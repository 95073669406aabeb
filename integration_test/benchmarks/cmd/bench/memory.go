package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/tlsresume/tlsresume/integration_test/benchmarks/inmemory"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/report"
	"github.com/tlsresume/tlsresume/integration_test/benchmarks/sessions"
	"github.com/tlsresume/tlsresume/resume"
)

// A memoryRun is what the flags of the command say.
type memoryRun struct {
	shared, own, bound, arms string
}

// A memoryResult is what one server costs one arm.
type memoryResult struct {
	Bench        string  `json:"bench"` // "memory"
	Load         string  `json:"load"`  // how many servers, and whose certificates
	Arm          string  `json:"arm"`
	Certificates string  `json:"certificates"` // "shared", "own", or "bound": those of real handshakes
	Servers      int     `json:"servers"`
	Bytes        float64 `json:"bytes"`     // of heap per server, after a collection
	OverList     float64 `json:"over_list"` // of that, more than the standard library's
}

// A dialer makes a client connection of a raw one.
type dialer func(raw net.Conn, config *tls.Config) net.Conn

// The standard library's cache comes first, the others are compared with it.
var memoryArms = []struct {
	name string
	make func(servers int) (tls.ClientSessionCache, dialer)
}{
	{"standard", func(servers int) (tls.ClientSessionCache, dialer) {
		cache := tls.NewLRUClientSessionCache(servers)
		return cache, func(raw net.Conn, config *tls.Config) net.Conn {
			config.ClientSessionCache = cache
			return tls.Client(raw, config)
		}
	}},
	{"tlsresume", func(servers int) (tls.ClientSessionCache, dialer) {
		cache := &resume.ClientCache{MaxServers: servers, MaxBytes: 1 << 40}
		scope := cache.NewScope()
		return cache, func(raw net.Conn, config *tls.Config) net.Conn { return scope.NewConn(raw, config) }
	}},
}

// maxOverList is the target, in bytes.
const maxOverList = 200

func memoryCommand(flags *flag.FlagSet) func(*report.File) error {
	var r memoryRun
	flags.StringVar(&r.shared, "shared", "1000,100000,1000000",
		"`numbers` of servers that show the same certificate")
	flags.StringVar(&r.own, "own", "1000,100000",
		"`numbers` of servers with certificates of their own: a million take 8 GB")
	flags.StringVar(&r.bound, "bound", "10000",
		"`numbers` of servers of which sessions come by handshakes, with NewConn in our case")
	flags.StringVar(&r.arms, "arms", "", "these `arms` alone, with commas between")
	return r.run
}

func (r *memoryRun) run(results *report.File) error {
	parts, err := r.parts()
	if err != nil {
		return err
	}
	var all []memoryResult
	fmt.Printf("%-12s %9s %-10s %12s %12s\n", "certificates", "servers", "arm", "bytes each", "over list")
	for _, p := range parts {
		got, err := r.compare(p.certificates, p.servers, results)
		if err != nil {
			return err
		}
		all = append(all, got...)
	}
	fmt.Println()
	printVerdicts(os.Stdout, memoryVerdicts(all))
	return nil
}

// A memoryPart is a number of servers, and how they come by their certificates.
type memoryPart struct {
	certificates string
	servers      int
}

// parts reads the flags, all of them before anything is measured.
func (r *memoryRun) parts() (parts []memoryPart, err error) {
	for _, flag := range [][2]string{{"bound", r.bound}, {"shared", r.shared}, {"own", r.own}} {
		for number := range strings.SplitSeq(flag[1], ",") {
			if number == "" {
				continue
			}
			servers, err := strconv.Atoi(number)
			if err != nil || servers < 1 {
				return nil, fmt.Errorf("bench: %q is no number of servers", number)
			}
			parts = append(parts, memoryPart{flag[0], servers})
		}
	}
	return parts, nil
}

func memoryVerdicts(results []memoryResult) (verdicts []verdict) {
	for _, r := range results {
		if r.Arm != memoryArms[0].name {
			verdicts = append(verdicts, verdict{"bytes for a server, over the standard LRU's", r.Load, r.OverList, true, maxOverList})
		}
	}
	return verdicts
}

func (r *memoryRun) compare(certificates string, servers int, results *report.File) (all []memoryResult, err error) {
	var standard float64
	for _, arm := range memoryArms {
		if !listed(r.arms, arm.name) {
			continue
		}
		var bytes float64
		if cache, dial := arm.make(servers); certificates == "bound" {
			bytes, err = perHandshake(cache, dial, servers)
		} else {
			bytes, err = perServer(cache, certificates == "own", servers)
		}
		if err != nil {
			return nil, err
		}
		if arm.name == memoryArms[0].name {
			standard = bytes
		}
		result := memoryResult{
			Bench: "memory", Load: fmt.Sprintf("%d servers, %s", servers, memoryLoads[certificates]),
			Arm: arm.name, Certificates: certificates, Servers: servers,
			Bytes: bytes, OverList: bytes - standard,
		}
		fmt.Printf("%-12s %9d %-10s %12.0f %12.0f\n", certificates, servers, arm.name, result.Bytes, result.OverList)
		if err := results.Write(result); err != nil {
			return nil, err
		}
		all = append(all, result)
	}
	return all, nil
}

var memoryLoads = map[string]string{
	"shared": "shared certificates", "own": "own certificates", "bound": "by handshakes",
}

// perServer fills a cache with one session each of so many servers, the second of
// each, the first having been used, and returns by how much the heap grew for
// one.
func perServer(c tls.ClientSessionCache, own bool, servers int) (float64, error) {
	source, err := sessions.NewSource(own)
	if err != nil {
		return 0, err
	}
	before := report.Heap()
	for i := range servers {
		name := sessions.Name(i)
		for range 2 {
			c.Get(name)
			state, err := source.Session(i)
			if err != nil {
				return 0, err
			}
			c.Put(name, state)
		}
	}
	grown := report.Heap() - before
	if _, ok := c.Get(sessions.Name(servers / 2)); !ok {
		return 0, errors.New("bench: a session that was put is not in the cache")
	}
	runtime.KeepAlive(source)
	return grown / float64(servers), nil
}

// perHandshake is perServer with sessions that come as they do in life: each
// server is connected to twice.
func perHandshake(c tls.ClientSessionCache, dial dialer, servers int) (float64, error) {
	server, err := inmemory.NewServer()
	if err != nil {
		return 0, err
	}
	defer server.Close()
	config := server.Config.Clone()
	config.InsecureSkipVerify = true // it has one name, and its clients look for many
	before := report.Heap()
	for i := range servers {
		own := config.Clone()
		own.ServerName = sessions.Name(i)
		addr := &net.TCPAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Port: 443}
		for range 2 {
			conn := dial(server.DialAt(addr), own)
			b := [1]byte{1}
			if _, err := conn.Write(b[:]); err != nil {
				return 0, err
			}
			if _, err := conn.Read(b[:]); err != nil {
				return 0, err
			}
			conn.Close()
		}
	}
	grown := report.Heap() - before
	runtime.KeepAlive(c)
	return grown / float64(servers), nil
}
