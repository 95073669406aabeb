// Package expect has what every test of connections expects.
package expect

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// patience bounds the wait for goroutines to end.
const patience = 20 * time.Second

// NoReuse holds the law of the house, from the server's side.
func NoReuse(t testing.TB, seen *tlstest.Identities) tlstest.Counts {
	t.Helper()
	counts := seen.Counts()
	require.Zero(t, counts.Reused, "connections that offered a ticket another had offered")
	return counts
}

// Books has the books of a cache checked when the test ends.
func Books(t testing.TB, c *resume.ClientCache) *resume.ClientCache {
	t.Cleanup(func() {
		st := c.Stats()
		sum := st.Used + st.Expired + st.Evicted + st.Removed + st.Failed + st.Kept + st.Stored
		assert.Equal(t, st.Captured+st.Fetched, sum, st.String())
		assert.Zero(t, st.Handles, "counted handles that nobody released")
	})
	return c
}

// NoLeaks fails the test if it leaves goroutines behind. What is to be cleaned
// up before it must be registered after it.
func NoLeaks(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; <-tick.C {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				t.Errorf("%d goroutines before, %d after:\n%s", before, strings.Count(string(stacks), "goroutine "), stacks)
				return
			}
		}
	})
}
