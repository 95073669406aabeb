package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles are files to write profiles to; an empty name means none.
type profiles struct {
	cpu, allocs, mutex, block string
}

func (p *profiles) flags(flags *flag.FlagSet) {
	flags.StringVar(&p.cpu, "cpuprofile", "", "write a CPU profile to this `file`")
	flags.StringVar(&p.allocs, "memprofile", "", "write a profile of all allocations to this `file`")
	flags.StringVar(&p.mutex, "mutexprofile", "", "write a profile of contended locks to this `file`")
	flags.StringVar(&p.block, "blockprofile", "", "write a profile of blocked goroutines to this `file`")
}

// start begins to profile. The function it returns ends that, writes, and
// returns the error it was given, with its own.
func (p *profiles) start() (stop func(error) error, err error) {
	if p.allocs != "" {
		runtime.MemProfileRate = 512 // bytes; the default would see few
	}
	if p.mutex != "" {
		runtime.SetMutexProfileFraction(1)
	}
	if p.block != "" {
		runtime.SetBlockProfileRate(1)
	}
	var cpu *os.File
	if p.cpu != "" {
		if cpu, err = os.Create(p.cpu); err != nil {
			return nil, fmt.Errorf("bench: profile: %w", err)
		}
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return nil, fmt.Errorf("bench: profile: %w", errors.Join(err, cpu.Close()))
		}
	}
	return func(err error) error {
		if cpu != nil {
			pprof.StopCPUProfile()
			err = errors.Join(err, cpu.Close())
		}
		return errors.Join(err, write("allocs", p.allocs), write("mutex", p.mutex), write("block", p.block))
	}, nil
}

// write writes one of the profiles that runtime/pprof keeps.
func write(kind, file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("bench: profile: %w", err)
	}
	return errors.Join(pprof.Lookup(kind).WriteTo(f, 0), f.Close())
}
