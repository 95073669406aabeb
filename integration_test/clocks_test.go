package integration_test

import (
	"crypto/tls"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// shifted is the task of a process that runs by a clock of its own.
var shifted *task

// byItsClock runs a process by a clock that is ahead, or behind if that is
// negative. It is that of a synctest bubble, which only a test can make, and
// which stands still while the process waits for the network.
func (t *task) byItsClock(m *testing.M) {
	shifted = t
	os.Args = []string{os.Args[0], "-test.run=^TestProcessesOfDifferentClocksShareADirectory$"}
	os.Exit(m.Run())
}

// Programs share a directory while the clock jumps back and forth: no ticket is
// used twice, none is lost that is good by the next program's clock, and none
// used that its own clock says is too old or from the future.
func TestProcessesOfDifferentClocksShareADirectory(t *testing.T) {
	if shifted != nil {
		now := time.Now().Add(shifted.Ahead)
		synctest.Test(t, func(*testing.T) {
			time.Sleep(time.Until(now))
			process.Exit(shifted.run(os.Stdin, os.Stdout))
		})
	}
	s := newStable(t)
	longLived(t, s)
	const day = 24 * time.Hour
	for n, run := range []struct {
		why     string
		ahead   time.Duration
		resumed int // of 4 connections, one after the other
	}{
		{"the first has none", 0, 3},
		{"the next goes on", 0, 4},
		{"an hour ahead", time.Hour, 4},
		{"an hour behind: the stored one is from the future", -time.Hour, 3},
		{"back: it lies on top, and hides nothing", 0, 4},
		{"an hour ahead again", time.Hour, 4},
		{"the seven days of the tickets are over", 8 * day, 3},
		{"back: what that one stored is from the future", 0, 3},
		{"ahead again", 8*day + time.Hour, 4},
	} {
		work := s.task(1, 4)
		work.Ahead = run.ahead
		got := ended(t, s.start(t, work))
		require.Zero(t, got.Failed, "run %d: %s", n+1, run.why)
		if got.Slow == 0 { // the machine let it answer in time
			require.Equal(t, run.resumed, got.Resumed, "run %d: %s", n+1, run.why)
		}
	}
	requireNoReuse(t, s.Identities)
}

// longLived gives the server a certificate for a month from yesterday on.
func longLived(t testing.TB, s *stable) {
	now := time.Now()
	leaf := tlstest.Must(s.ca.Issue(tlstest.Leaf{
		Names: []string{host}, NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
	}))
	s.restart(t, func(c *tls.Config) { c.Certificates = []tls.Certificate{leaf} })
}
