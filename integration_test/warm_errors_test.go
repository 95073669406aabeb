package integration_test

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/resume"
)

// Who stops waiting hears that he did, not that the server has no tickets: only
// the second is a reason to leave it alone for good.
func TestWarmEndedByItsContextBlamesNoServer(t *testing.T) {
	s := newSite(t, setup{server: afterwards})
	v := newValve(t, s.Addr)
	d, h := warmer(t, new(resume.ClientCache), s.with(onlyP256))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config := d.Config.Clone()
	config.VerifyConnection = func(tls.ConnectionState) error {
		time.AfterFunc(10*time.Millisecond, cancel) // the tickets are held back
		return nil
	}
	warming := &resume.Dialer{Scope: d.Scope, Config: config}
	have, err := warming.Warm(ctx, "tcp", v.Addr, 8)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, resume.ErrNoTicket)
	require.Zero(t, have)
	require.LessOrEqual(t, s.Identities.Counts().Connections, 1, "it dials no more")
	require.Zero(t, h.count(resume.TicketCaptured))
}

// A time limit of the network dialer is one of each connection, and ends Warm
// as a connection's failure.
func TestWarmObeysTheNetDialersTimeout(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	require.NoError(t, err)
	defer mute.Close()
	d, _ := warmer(t, new(resume.ClientCache), &tls.Config{ServerName: host})
	d.NetDialer = &net.Dialer{Timeout: 30 * time.Millisecond}
	have, err := d.Warm(t.Context(), "tcp", mute.Addr().String(), 8)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, resume.ErrNoTicket)
	require.Zero(t, have)
}

// A closed cache keeps nothing, and to go on dialling would bring nothing.
func TestAClosedCacheIsNotWarmed(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: s.with(onlyP256)}
	require.NoError(t, c.Close())
	have, err := d.Warm(t.Context(), "tcp", s.Addr, 8)
	require.ErrorIs(t, err, resume.ErrNoTicket)
	require.Zero(t, have)
	require.LessOrEqual(t, s.Identities.Counts().Connections, 1)
}

// No more than none can be missing.
func TestWarmToNothingDialsNobody(t *testing.T) {
	d, h := warmer(t, new(resume.ClientCache), &tls.Config{ServerName: host})
	for _, n := range []int{0, -1, math.MinInt} {
		have, err := d.Warm(t.Context(), "tcp", "127.0.0.1:1", n)
		require.NoError(t, err, "nobody listens there")
		require.Zero(t, have)
	}
	require.Empty(t, h.events)
}

// Two who warm one server, beside others who use it up, keep each other at it
// no longer than each would need alone.
func TestWarmsOfOneServerEnd(t *testing.T) {
	const warms, n = 4, 8
	s := newSite(t, setup{})
	d, h := warmer(t, new(resume.ClientCache), s.with(onlyP256))
	var all errgroup.Group
	for range warms {
		all.Go(func() error {
			_, err := d.Warm(t.Context(), "tcp", s.Addr, n)
			return err
		})
		all.Go(func() error {
			_, err := dialed(d.Scope, d.Config).visit(s.Addr)
			return err
		})
	}
	require.NoError(t, all.Wait())
	require.LessOrEqual(t, h.reasons("warming"), warms*n)
	requireNoReuse(t, s.Identities)
}
