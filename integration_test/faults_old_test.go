package integration_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkOld is check for a server that renews its TLS 1.2 session each time.
func (b *bench) checkOld(t testing.TB, o *outcome) {
	t.Helper()
	had := min(o.before.Pooled, 1)
	require.Equal(t, had, o.offered, "%v", o)
	require.Equal(t, o.before.Used, o.after.Used, "a TLS 1.2 session is not used up: %v", o)
	captured := int(o.after.Captured - o.before.Captured)
	failed := int(o.after.Failed - o.before.Failed)
	require.LessOrEqual(t, captured, 1, "%v", o)
	if o.handshake == nil {
		require.Equal(t, 1, captured, "it is part of the handshake: %v", o)
	}
	lost, why := b.loses(o, captured, had)
	if errors.Is(o.handshake, context.Canceled) && captured > 0 {
		require.LessOrEqual(t, failed, lost, "%v", o)
		lost = failed // it was over, perhaps, when its caller gave up
	}
	require.Equal(t, lost, failed, "%v", o)
	require.Equal(t, lost, o.events["SessionEnded "+why], "%v", o)
	evicted := int(o.after.Evicted - o.before.Evicted) // they pile up
	require.Equal(t, o.before.Pooled+captured-failed-evicted, o.after.Pooled, "%v", o)
	requireFaultsOutcome(t, o)
}

// loses is how many sessions are offered no more, and why. A caller who gives
// up is nobody's fault, which the ways in that see no handshake cannot know.
func (b *bench) loses(o *outcome, captured, had int) (lost int, why string) {
	switch {
	case o.handshake != nil && b.bound() && errors.Is(o.handshake, context.Canceled):
		return 0, "handshake"
	case o.handshake != nil:
		return had, "handshake"
	case b.bound() && isAlert(o.talk) && o.resumed: // with the one resumed with
		return captured + had, "alert"
	case b.bound() && isAlert(o.talk):
		return captured, "alert"
	}
	return 0, "alert"
}
