// Package cputime says how much CPU time this process has used. It is what the
// demo and the benchmarks compare clients by: the time on a clock depends on
// who else uses the machine.
package cputime
