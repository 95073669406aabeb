package redisstore_test

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A trouble is something that happens while processes connect and are killed.
type trouble struct {
	what   string
	strike func(t *testing.T, f *fleet)
}

var troubles = []trouble{
	{"nothing else", func(*testing.T, *fleet) {}},
	{"Redis dies and comes back as it was some time ago", func(t *testing.T, f *fleet) {
		f.stock(t)
		require.NoError(t, f.primary.client(t).Save(background).Err())
		f.busy(t)
		f.primary.restart(t)
	}},
	{"Redis dies and comes back empty", func(t *testing.T, f *fleet) {
		f.primary.kill()
		os.Remove(filepath.Join(f.primary.dir, "dump.rdb"))
		require.NoError(t, f.primary.run())
	}},
	{"Redis is stopped, saves what it has and starts again", func(t *testing.T, f *fleet) {
		f.primary.client(t).ShutdownSave(background)
		f.primary.cmd.Wait()
		require.NoError(t, f.primary.run())
	}},
	{"the network is cut", func(t *testing.T, f *fleet) {
		f.network.cut()
		f.busy(t)
		f.network.mend()
	}},
	{"the network hangs", func(t *testing.T, f *fleet) {
		f.network.hold()
		f.busy(t)
		f.network.release()
	}},
	{"replies are lost", func(t *testing.T, f *fleet) {
		for range 3 {
			for range 8 {
				f.network.loseReply(func() {})
			}
			f.busy(t)
		}
	}},
	{"a replica that has not heard all is promoted", func(t *testing.T, f *fleet) {
		link := startProxy(t, f.primary.addr)
		_, port, err := net.SplitHostPort(link.addr)
		require.NoError(t, err)
		replica := startServer(t, "--replicaof", "127.0.0.1 "+port)
		replica.awaitSync(t)
		f.stock(t)
		link.hold()
		f.busy(t)
		f.primary.kill()
		replica.promote(t)
		f.network.lead(replica.addr)
	}},
}

// stock brings more tickets than are in use at a time.
func (f *fleet) stock(t *testing.T) {
	require.Zero(t, ended(t, start(t, f.task(32, 1))).Failed)
}

// busy returns after some more connections were made.
func (f *fleet) busy(t *testing.T) {
	until := f.Identities.Counts().Connections + 32
	await(t, "more connections", func() bool { return f.Identities.Counts().Connections >= until })
}

// Processes are killed at random moments, and Redis and the network have
// troubles of their own. Tickets are lost; none is offered twice.
func TestKillsAndTroublesCostTicketsAndNoSecondUse(t *testing.T) {
	for _, trouble := range troubles {
		t.Run(trouble.what, func(t *testing.T) {
			f := newFleet(t)
			stop := make(chan struct{})
			var all sync.WaitGroup
			var killed, resumed atomic.Int64
			for n := range 4 {
				random := rand.New(rand.NewPCG(uint64(n), 7))
				all.Go(func() { f.killers(t, random, stop, &killed, &resumed) })
			}
			f.busy(t)
			trouble.strike(t, f)
			f.busy(t)
			close(stop)
			all.Wait()
			counts := f.requireNoReuse(t)
			t.Logf("%d connections of %d killed processes, %d offered a ticket", counts.Connections, killed.Load(), counts.Offered)
			require.Positive(t, resumed.Load())

			// It works as before.
			require.Zero(t, ended(t, start(t, f.task(4, 2))).Failed)
			await(t, "a process that resumes its first connection", func() bool {
				return ended(t, start(t, f.task(1, 1))).Resumed == 1
			})
			f.requireNoReuse(t)
		})
	}
}

// killers starts processes and kills them, until it is stopped.
func (f *fleet) killers(t *testing.T, random *rand.Rand, stop <-chan struct{}, killed, resumed *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		p := start(t, f.task(4, 0))
		for range 1 + random.IntN(4) {
			d := p.Next(t)
			assert.Zero(t, d.Failed)
			resumed.Add(int64(d.Resumed))
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond) // a real process goes on
		p.Kill()
		killed.Add(1)
	}
}
