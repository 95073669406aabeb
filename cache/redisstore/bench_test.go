package redisstore_test

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// sealed is an entry of the size of a sealed session: 1000 bytes with one short
// certificate, 3000 with a public server's ECDSA chain.
func sealed(n, size int) cache.Entry {
	return cache.Entry{ID: fmt.Sprintf("%022x", n), Value: make([]byte, size), Expires: time.Now().Add(time.Hour)}
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// An arm is something to be timed; arms take turns, so that what the machine
// does besides hits all of them.
type arm struct {
	name   string
	before func(n int)
	timed  func(n int)
	took   []time.Duration
}

// race times arms in turn, reports their medians and returns them by name.
func race(b *testing.B, arms []*arm) map[string]time.Duration {
	n := 0
	for b.Loop() {
		for _, a := range arms {
			n += 1000
			if a.before != nil {
				a.before(n)
			}
			start := time.Now()
			a.timed(n)
			a.took = append(a.took, time.Since(start))
		}
	}
	medians := make(map[string]time.Duration)
	for _, a := range arms {
		medians[a.name] = median(a.took)
		b.ReportMetric(microseconds(medians[a.name]), a.name+"-p50-us")
	}
	b.ReportMetric(0, "ns/op")
	return medians
}

// taking is an arm that puts size entries and times taking them at once.
func taking(b *testing.B, name string, s *redisstore.Store, batch, size int) *arm {
	return &arm{
		name: name,
		before: func(n int) {
			var entries []cache.Entry
			for i := range batch {
				entries = append(entries, sealed(n+i, size))
			}
			require.NoError(b, s.Put(background, "key", entries...))
		},
		timed: func(int) {
			got, err := s.Take(background, "key", batch)
			if err != nil || len(got) != batch {
				b.Fatal(len(got), err)
			}
		},
	}
}

// BenchmarkBatch is what a batch saves: eight entries at once must cost at most
// four times one.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{1000, 3000} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			client, s := fixture(b)
			put(b, s, "key", "below") // that the key never runs empty
			b.ResetTimer()
			medians := race(b, []*arm{
				{name: "ping", timed: func(int) { client.Ping(background) }},
				{name: "miss", timed: func(int) { s.Take(background, "none", 1) }},
				{name: "put", timed: func(n int) { s.Put(background, "put", sealed(n, size)) }},
				taking(b, "take", s, 1, size),
				taking(b, "take8", s, 8, size),
				taking(b, "take32", s, 32, size),
			})
			ratio := float64(medians["take8"]) / float64(medians["take"])
			b.ReportMetric(ratio, "take8/take")
			if b.N > 100 && ratio > 4 {
				b.Errorf("8 entries cost %.1f times one", ratio)
			}
		})
	}
}

// BenchmarkSafety is what it costs to look whose life it is, and to wait for a
// replica.
func BenchmarkSafety(b *testing.B) {
	p := startPair(b)
	client := p.primary.client(b)
	open := func(opts redisstore.Options) *redisstore.Store {
		opts.Namespace = unused()
		return newStore(b, client, opts)
	}
	b.ResetTimer()
	race(b, []*arm{
		taking(b, "life", open(byDefault), 1, 1000),
		taking(b, "survive", open(onTheirWord), 1, 1000),
		taking(b, "replica", open(withReplicas), 1, 1000),
	})
}

// BenchmarkServerTime is what a put and a take of one cost the server, of which
// it has one thread.
func BenchmarkServerTime(b *testing.B) {
	client, s := fixture(b)
	put(b, s, "key", "below")
	require.NoError(b, client.ConfigResetStat(background).Err())
	for n := 0; b.Loop(); n++ {
		require.NoError(b, s.Put(background, "key", sealed(n, 1000)))
		_, err := s.Take(background, "key", 1)
		require.NoError(b, err)
	}
	var calls, us float64
	line := client.InfoMap(background, "commandstats").Item("Commandstats", "cmdstat_evalsha")
	_, err := fmt.Sscanf(line, "calls=%f,usec=%f", &calls, &us)
	require.NoError(b, err)
	b.ReportMetric(us/calls, "server-us/call")
}

// BenchmarkMemory is what a ticket takes in Redis, by MEMORY USAGE of a
// server's two names and by what the whole server uses. The sizes are those of
// sealed sessions of our own servers, and with an ECDSA and an RSA chain as
// public servers send them.
func BenchmarkMemory(b *testing.B) {
	for _, tickets := range []int{1, 2, 8, 64} {
		for _, size := range []int{1000, 3000, 6600} {
			b.Run(fmt.Sprintf("tickets=%d/bytes=%d", tickets, size), func(b *testing.B) {
				for b.Loop() {
					memory(b, tickets, size)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func memory(b *testing.B, tickets, size int) {
	const servers = 1000
	client, s := fixture(b)
	used := func() (bytes int) {
		fmt.Sscan(client.InfoMap(background, "memory").Item("Memory", "used_memory"), &bytes)
		return bytes
	}
	put(b, s, "warm", "up")
	drain(b, s, "warm")
	before := used()
	var key string
	for server := range servers {
		key = fmt.Sprintf("%059x", server) // as long as those of package resume
		var entries []cache.Entry
		for i := range tickets {
			entries = append(entries, sealed(server*100+i, size))
		}
		require.NoError(b, s.Put(background, key, entries...))
	}
	after := used()
	var usage int64
	for _, suffix := range []string{"ids", "records"} {
		n, err := client.MemoryUsage(background, "tlsresume:{="+key+"}:"+suffix, 0).Result()
		require.NoError(b, err)
		usage += n
	}
	b.ReportMetric(float64(usage), "usage-B/server")
	b.ReportMetric(float64(after-before)/servers, "used-B/server")
	b.ReportMetric(float64(after-before)/servers/float64(tickets), "used-B/ticket")
}

// BenchmarkSession is how large a sealed session of our own servers is.
func BenchmarkSession(b *testing.B) {
	for name, leaf := range map[string]tlstest.Leaf{"ECDSA": {Names: []string{host}}, "RSA": {Names: []string{host}, RSA: true}} {
		b.Run(name, func(b *testing.B) {
			f := newFleetOf(b, leaf)
			for b.Loop() {
				work := f.task(1, 1)
				require.NoError(b, work.run(nil, io.Discard))
			}
			for l, err := range newStore(b, f.primary.client(b), byDefault).List(background) {
				require.NoError(b, err)
				b.ReportMetric(float64(l.Size), "B")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkSharedPool has four processes, one after the other as in a deployment,
// on one pool and with memory alone.
func BenchmarkSharedPool(b *testing.B) {
	f := newFleet(b)
	share := func(redis string) float64 {
		var sum done
		for range 4 {
			work := f.task(4, 8)
			work.Redis = redis
			got := ended(b, start(b, work))
			require.Zero(b, got.Failed)
			sum.Connections += got.Connections
			sum.Resumed += got.Resumed
		}
		return 100 * float64(sum.Resumed) / float64(sum.Connections)
	}
	for b.Loop() {
		require.NoError(b, f.primary.client(b).FlushAll(background).Err())
		b.ReportMetric(share(f.network.addr), "shared-%resumed")
		b.ReportMetric(share(""), "separate-%resumed")
	}
	b.ReportMetric(0, "ns/op")
	f.requireNoReuse(b)
}
