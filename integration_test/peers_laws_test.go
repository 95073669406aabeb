package integration_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// crowdOf connections are made at once.
const crowdOf = 4

// visit makes one connection of the layer, which talks, and ends it in both
// directions, so that all its tickets come.
func (m *meeting) visit(d *resume.Dialer, addr string) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := m.run.Talk(conn); err != nil {
		return false, err
	}
	return conn.ConnectionState().DidResume, conn.Shutdown(ctx)
}

func (m *meeting) mustVisit(t *testing.T, d *resume.Dialer, addr string) (resumed bool) {
	t.Helper()
	resumed, err := m.visit(d, addr)
	require.NoError(t, err)
	return resumed
}

// unasked waits for a ticket on a connection where nothing is said. Without
// one, it holds that there is none when the server has ended.
func (m *meeting) unasked(t *testing.T, f *facts) {
	proxy := m.proxy(t)
	d := &resume.Dialer{Scope: newCache(t, new(resume.ClientCache)).NewScope(), Config: m.client}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", proxy.Addr)
	require.NoError(t, err)
	defer conn.Close()
	if f.Full == 0 {
		require.NoError(t, m.run.Talk(conn))
		require.NoError(t, conn.CloseWrite())
		_, err = conn.WaitSession(ctx)
		require.ErrorIs(t, err, resume.ErrNoTicket)
		return
	}
	session, err := conn.WaitSession(ctx)
	if f.Unasked = err == nil; f.Unasked {
		info := session.Info()
		require.LessOrEqual(t, info.Expires.Sub(info.Received), f.Lifetime)
		require.NoError(t, m.run.Talk(conn), "WaitSession has eaten nothing")
	}
}

// everyTicketOnce resumes with each ticket of a full handshake, and with each
// of those that this brings. A second time none is offered.
func (m *meeting) everyTicketOnce(t *testing.T, f facts) {
	proxy := m.proxy(t)
	c, heard := listen(t, new(resume.ClientCache))
	e := dialed(c.NewScope(), m.client)
	require.False(t, m.mustVisit(t, exactly(e, nil), proxy.Addr))
	require.Len(t, heard.got(), f.Full)
	if !f.Resumes {
		m.never(t, f, c, e, proxy.Addr)
		assert.Equal(t, min(f.Full, 1)*crowdOf, requireNoReuse(t, proxy.Identities).Offered)
		return
	}

	all := f.Full + f.Full*f.Resumed
	for i := range all {
		require.True(t, m.mustVisit(t, exactly(e, heard.got()[i]), proxy.Addr), "ticket %d of %d", i+1, all)
	}
	for _, s := range heard.got()[:all] {
		_, err := m.visit(exactly(e, s), proxy.Addr)
		require.ErrorIs(t, err, resume.ErrNotResumable)
		require.Equal(t, resume.Used, s.Status())
	}
	require.Len(t, heard.got(), all+f.Full*f.Resumed*f.Resumed)
	require.Equal(t, all, requireNoReuse(t, proxy.Identities).Offered)
	assert.EqualValues(t, all, c.Stats().Used)
	m.resumed += all
}

// never is for a server that takes no ticket: each is offered in vain once and
// costs no more than that, and its siblings are dropped.
func (m *meeting) never(t *testing.T, f facts, c *resume.ClientCache, e entry, addr string) {
	for i := range crowdOf {
		require.False(t, m.mustVisit(t, exactly(e, nil), addr), "visit %d", i+1)
	}
	st := c.Stats()
	assert.EqualValues(t, min(f.Full, 1)*crowdOf, st.Used)
	assert.EqualValues(t, max(f.Full-1, 0)*crowdOf, st.Failed)
	assert.EqualValues(t, f.Full, st.Kept, "those of the last visit")
}

// crowds make several connections at once. As many resume as there were
// tickets, at least.
func (m *meeting) crowds(t *testing.T, f facts) {
	proxy := m.proxy(t)
	c := newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: m.client}
	for range 3 {
		had := c.Stats().Pooled
		resumed := m.crowd(t, d, proxy.Addr)
		if f.Resumes {
			require.GreaterOrEqual(t, resumed, min(had, crowdOf))
		} else {
			require.Zero(t, resumed)
		}
		m.resumed += resumed
	}
	counts := requireNoReuse(t, proxy.Identities)
	assert.Equal(t, 3*crowdOf, counts.Connections)
	assert.EqualValues(t, c.Stats().Used, counts.Offered)
}

func (m *meeting) crowd(t *testing.T, d *resume.Dialer, addr string) (resumed int) {
	var all errgroup.Group
	results := make([]bool, crowdOf)
	for i := range results {
		all.Go(func() (err error) {
			results[i], err = m.visit(d, addr)
			return err
		})
	}
	require.NoError(t, all.Wait())
	for _, r := range results {
		if r {
			resumed++
		}
	}
	return resumed
}

// restart gives the server new keys. The next connection works, and with it
// the dead ticket's siblings are dropped, so that the ones after it resume.
func (m *meeting) restart(t *testing.T, f *facts) {
	proxy, c := m.proxy(t), newCache(t, new(resume.ClientCache))
	d := &resume.Dialer{Scope: c.NewScope(), Config: m.client}
	m.mustVisit(t, d, proxy.Addr)

	proxy12, c12 := m.proxy(t), newCache(t, new(resume.ClientCache))
	d12 := &resume.Dialer{Scope: c12.NewScope(), Config: older(m.client)}
	m.mustVisit(t, d12, proxy12.Addr)
	m.mustVisits(t, d12, proxy12.Addr, f.after12())

	require.NoError(t, m.Restart())
	f.TLS12Refused = m.refused(t, d12, proxy12, f.after12())
	f.Refused = m.refused(t, d, proxy, f.after())
	requireNoReuse(t, proxy.Identities)
	if f.Resumes {
		assert.EqualValues(t, max(f.Full-1, 0), c.Stats().Failed, "the siblings")
	}
}

// refused visits a server that came back, and counts the connections that
// offered something in vain.
func (m *meeting) refused(t *testing.T, d *resume.Dialer, proxy *tlstest.Proxy, after []bool) int {
	t.Helper()
	before := proxy.Identities.Counts().Offered
	require.False(t, m.mustVisit(t, d, proxy.Addr), "the keys are new")
	resumed := m.mustVisits(t, d, proxy.Addr, after)
	return proxy.Identities.Counts().Offered - before - resumed
}

// after says which visits are resumed, one after the other, that follow on one
// with a full handshake.
func (f facts) after() (resumed []bool) {
	for tickets := f.Full; len(resumed) < 3; {
		can := f.Resumes && tickets > 0
		resumed = append(resumed, can)
		if can {
			tickets += f.Resumed - 1
		} else {
			tickets += f.Full
		}
	}
	return resumed
}

// after12 is the same for TLS 1.2. The layer offers no session without an
// extended master secret (rule N21), which crypto/tls does.
func (f facts) after12() []bool {
	can := f.TLS12Again && f.TLS12Extended
	return []bool{can, can, can}
}

// mustVisits makes visits that turn out so.
func (m *meeting) mustVisits(t *testing.T, d *resume.Dialer, addr string, want []bool) (resumed int) {
	t.Helper()
	for i, w := range want {
		require.Equal(t, w, m.mustVisit(t, d, addr), "resumed, visit %d", i+1)
		if w {
			resumed++
		}
	}
	return resumed
}
