package integration_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// warmer is a Dialer, and what its cache says.
func warmer(t testing.TB, c *resume.ClientCache, config *tls.Config) (*resume.Dialer, *heard) {
	c, h := listen(t, c)
	return &resume.Dialer{Scope: c.Scope("tenant"), Config: config}, h
}

// burst makes n connections at the same time that bring nothing, and returns
// how many were resumed.
func burst(t testing.TB, d *resume.Dialer, addr string, n int) (resumed int) {
	t.Helper()
	outcomes := make(chan bool, n)
	var all errgroup.Group
	for range n {
		all.Go(func() error {
			conn, err := d.Dial("tcp", addr)
			if err != nil {
				return err
			}
			defer conn.Close()
			outcomes <- conn.ConnectionState().DidResume
			return conn.NetConn().Close()
		})
	}
	require.NoError(t, all.Wait())
	for range n {
		if <-outcomes {
			resumed++
		}
	}
	return resumed
}

// reasons counts the handshakes that were full for a reason.
func (h *heard) reasons(why string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Kind == resume.HandshakeDone && e.Reason == why {
			n++
		}
	}
	return n
}

func TestWarmServerResumesAWholeBurst(t *testing.T) {
	s := newSite(t, setup{})
	d, h := warmer(t, new(resume.ClientCache), s.with(onlyP256))
	const n = 16
	have, err := d.Warm(t.Context(), "tcp", s.Addr, n)
	require.NoError(t, err)
	require.Equal(t, n, have)
	require.Equal(t, tlstest.Counts{Connections: n}, s.Identities.Counts(), "full handshakes, and no ticket was taken")
	require.Equal(t, n, h.reasons("warming"))
	require.Equal(t, n, h.count(resume.TicketCaptured))
	require.Zero(t, h.count(resume.SessionMissing))

	have, err = d.Warm(t.Context(), "tcp", s.Addr, n)
	require.NoError(t, err)
	require.Equal(t, n, have)
	require.Equal(t, n, s.Identities.Counts().Connections, "it was warm")

	require.Equal(t, n, burst(t, d, s.Addr, n))
	require.Equal(t, n, requireNoReuse(t, s.Identities).Offered)

	have, err = d.Warm(t.Context(), "tcp", s.Addr, 3)
	require.NoError(t, err)
	require.Equal(t, 3, have)
	require.Equal(t, 2*n+3, s.Identities.Counts().Connections)
}

// A server that sends several tickets needs fewer connections. How many a
// connection brings is for the server's machine to say, which may be too busy
// to send them in one go.
func TestWarmMakesNoMoreConnectionsThanItNeeds(t *testing.T) {
	const n, each = 10, 4
	server := newOpenSSL(t, "-num_tickets", strconv.Itoa(each))
	proxy := server.proxy(t, 1)
	d, h := warmer(t, new(resume.ClientCache), server.client)
	have, err := d.Warm(t.Context(), "tcp", proxy.Addr, n)
	require.NoError(t, err)
	require.GreaterOrEqual(t, have, n)
	require.Equal(t, h.count(resume.TicketCaptured), have)
	if made := proxy.Identities.Counts().Connections; have == each*made { // it was not
		require.Equal(t, 3, made)
	} else {
		require.LessOrEqual(t, made, n)
	}
	require.Equal(t, have, burst(t, d, proxy.Addr, have))
	requireNoReuse(t, proxy.Identities)
}

// The first connection is an example, and may be a bad one.
func TestWarmStopsWhenThereAreEnough(t *testing.T) {
	const n, parallel = 60, 8
	few, many := newOpenSSL(t, "-num_tickets", "1"), newOpenSSL(t, "-num_tickets", "4")
	proxy := few.proxy(t, 1)
	captured, late := 0, 0
	var mu sync.Mutex
	c := &resume.ClientCache{Observe: func(e resume.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e.Kind {
		case resume.TicketCaptured:
			captured++
			proxy.Retarget(many.Addr)
		case resume.HandshakeDone:
			if captured >= n {
				late++
			}
		}
	}}
	d := &resume.Dialer{Scope: c.NewScope(), Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
	have, err := d.Warm(t.Context(), "tcp", proxy.Addr, n)
	require.NoError(t, err)
	require.GreaterOrEqual(t, have, n)
	require.Less(t, late, parallel, "of %d connections", proxy.Identities.Counts().Connections)
}

func TestWarmStopsEarly(t *testing.T) {
	for _, row := range []struct {
		why         string
		server      func(*tls.Config)
		cache       *resume.ClientCache // nil: the default
		have        int
		err         error
		connections int // at most
	}{
		{why: "the server sends no ticket", server: func(c *tls.Config) { c.SessionTicketsDisabled = true }, err: resume.ErrNoTicket, connections: 1},
		{why: "one TLS 1.2 session is enough", server: onlyTLS12, have: 1, connections: 1},
		{why: "TicketsPerServer", cache: &resume.ClientCache{TicketsPerServer: 3}, have: 3, connections: 3},
		{why: "MaxBytes", cache: &resume.ClientCache{MaxBytes: 2500}, have: 2, connections: 10},
	} {
		t.Run(row.why, func(t *testing.T) {
			s := newSite(t, setup{server: row.server})
			d, _ := warmer(t, cmp.Or(row.cache, new(resume.ClientCache)), s.with(onlyP256))
			have, err := d.Warm(t.Context(), "tcp", s.Addr, 10)
			require.ErrorIs(t, err, row.err)
			require.Equal(t, row.have, have)
			require.LessOrEqual(t, s.Identities.Counts().Connections, row.connections)
		})
	}
}

func TestWarmReportsWhatStoppedIt(t *testing.T) {
	s := newSite(t, setup{})
	d, _ := warmer(t, new(resume.ClientCache), s.with(onlyP256))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	have, err := d.Warm(ctx, "tcp", s.Addr, 4)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, have)
	require.Zero(t, s.Identities.Counts().Connections)

	untrusting := &resume.Dialer{Scope: d.Scope, Config: &tls.Config{ServerName: host}}
	_, err = untrusting.Warm(t.Context(), "tcp", s.Addr, 4)
	var unknown *tls.CertificateVerificationError
	require.ErrorAs(t, err, &unknown)

	_, err = new(resume.Dialer).Warm(t.Context(), "tcp", s.Addr, 4)
	require.ErrorContains(t, err, "Dialer has no Scope")
	have, err = d.Warm(t.Context(), "tcp", s.Addr, 0)
	require.NoError(t, err)
	require.Zero(t, have)
}

// With a store, what warming brings is kept there for any process.
func TestWarmFillsTheStore(t *testing.T) {
	s := newStable(t)
	c := s.cache(t)
	d := &resume.Dialer{Scope: c.Scope("tenant"), Config: s.with(onlyP256)}
	have, err := d.Warm(t.Context(), "tcp", s.Addr, 5)
	require.NoError(t, err)
	require.Equal(t, 5, have)
	require.NoError(t, c.Close())
	require.Equal(t, 5, s.left(t))
	other := &resume.Dialer{Scope: s.cache(t).Scope("tenant"), Config: s.with(onlyP256)}
	require.Equal(t, 5, burst(t, other, s.Addr, 5))
	require.Equal(t, 5, requireNoReuse(t, s.Identities).Offered)
}
