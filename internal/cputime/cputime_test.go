package cputime_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/cputime"
)

// It would wait for ever, and fail by the test's own time limit, if the clock
// stood still.
func TestWorkMakesTheClockGoOn(t *testing.T) {
	began := cputime.Process()
	require.Positive(t, began)
	for last := began; last == began; {
		now := cputime.Process()
		require.GreaterOrEqual(t, now, last)
		last = now
	}
}
