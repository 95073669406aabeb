package integration_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/internal/tlstest/peer"
	"github.com/tlsresume/tlsresume/ticket"
)

// A meeting is with one server that runs. It is reached through proxies that
// see which tickets are offered, a new one for each question.
type meeting struct {
	row
	*peer.Server
	client  *tls.Config
	resumed int // connections that the layer resumed with TLS 1.3
}

func (m *meeting) proxy(t *testing.T) *tlstest.Proxy {
	t.Helper()
	parallel := crowdOf
	if m.run.Serial {
		parallel = 1
	}
	proxy, err := tlstest.NewProxy(m.Addr, parallel)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	return proxy
}

// measure finds out about the server, first with crypto/tls alone and then
// with the layer, and restarts it in the end.
func (m *meeting) measure(t *testing.T) (f facts) {
	m.tickets(t, &f)
	m.tls12(t, &f)
	m.unasked(t, &f)
	m.everyTicketOnce(t, f)
	m.crowds(t, f)
	m.restart(t, &f)
	return f
}

// tickets is what the server sends in TLS 1.3, and what a ticket is good for.
func (m *meeting) tickets(t *testing.T, f *facts) {
	proxy := m.proxy(t)
	full := m.probe(t, proxy.Addr, m.client, nil)
	require.False(t, full.resumed)
	require.EqualValues(t, tls.VersionTLS13, full.version)
	f.Full, f.First = len(full.got), len(full.got) > 0 && full.early == len(full.got)
	if f.Full == 0 {
		return
	}
	f.Lifetime = lifetime(t, full.got[0])
	for _, state := range full.got {
		require.Equal(t, f.Lifetime, lifetime(t, state), "they are twins")
	}

	again := m.probe(t, proxy.Addr, m.client, full.got[0])
	if f.Resumes = again.resumed; f.Resumes {
		f.Resumed, f.First = len(again.got), f.First && again.early == len(again.got)
		f.Remains = m.remains(t, *f, again.got)
	}
	twice := m.probe(t, proxy.Addr, m.client, full.got[0])
	f.Twice = twice.resumed
	require.Equal(t, 1, proxy.Identities.Counts().Reused, "the proxy sees a second use")
}

// remains reports whether a chain of resumptions has a lifetime in common. To
// see that takes until the server's clock, in seconds, has moved on, which is
// worth waiting for only where it is expected.
func (m *meeting) remains(t *testing.T, f facts, got []*tls.ClientSessionState) bool {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		for _, state := range got {
			left := lifetime(t, state)
			require.LessOrEqual(t, left, f.Lifetime)
			require.Greater(t, left, f.Lifetime-2*patience, "it is counted from the first ticket")
			if left < f.Lifetime {
				return true
			}
		}
		if !m.want.Remains || time.Now().After(deadline) {
			return false
		}
		got = m.probe(t, m.Addr, m.client, got[0]).got
	}
}

// tls12 is the same for TLS 1.2, where one session serves many connections.
func (m *meeting) tls12(t *testing.T, f *facts) {
	addr, config := m.proxy(t).Addr, older(m.client)
	full := m.probe(t, addr, config, nil)
	require.False(t, full.resumed)
	require.EqualValues(t, tls.VersionTLS12, full.version)
	if f.TLS12[0] = len(full.got); f.TLS12[0] == 0 {
		return
	}
	f.TLS12Again, f.TLS12Extended = true, inspect(t, full.got[0]).ExtendedMasterSecret
	for range 3 {
		again := m.probe(t, addr, config, full.got[0])
		f.TLS12[1], f.TLS12Again = len(again.got), f.TLS12Again && again.resumed
	}
}

func older(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.MaxVersion = tls.VersionTLS12
	return config
}

// A probed connection is one of crypto/tls alone.
type probed struct {
	resumed bool
	version uint16
	got     []*tls.ClientSessionState // sessions that it brought
	early   int                       // how many of them before the first application data
}

// probe makes a connection that offers a session, if any, talks and reads to
// the server's end.
func (m *meeting) probe(t *testing.T, addr string, config *tls.Config, offer *tls.ClientSessionState) (p probed) {
	t.Helper()
	kept := &offering{offer: offer}
	config = config.Clone()
	config.ClientSessionCache = kept
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, config)
	require.NoError(t, err)
	defer conn.Close()
	state := conn.ConnectionState()
	p.resumed, p.version = state.DidResume, state.Version
	require.NoError(t, m.run.Talk(&firstData{Conn: conn, came: func() { p.early = len(kept.got) }}))
	require.NoError(t, conn.CloseWrite())
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, io.ErrUnexpectedEOF) { // without close_notify
		require.NoError(t, err)
	}
	p.got = kept.got
	return p
}

// lifetime is what the server granted.
func lifetime(t *testing.T, session *tls.ClientSessionState) time.Duration {
	t.Helper()
	info := inspect(t, session)
	return info.Expires.Sub(info.Received)
}

// inspect is what a session says of itself.
func inspect(t *testing.T, session *tls.ClientSessionState) ticket.Info {
	t.Helper()
	label, state, err := session.ResumptionState()
	require.NoError(t, err)
	info, err := ticket.Inspect(label, state)
	require.NoError(t, err)
	return info
}

// An offering is a tls.ClientSessionCache that keeps what it is given and hands
// out one session, any number of times.
type offering struct {
	offer *tls.ClientSessionState
	got   []*tls.ClientSessionState
}

func (o *offering) Get(string) (*tls.ClientSessionState, bool) { return o.offer, o.offer != nil }

func (o *offering) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		o.got = append(o.got, state)
	}
}

// last is the newest it was given; nil: none.
func (o *offering) last() *tls.ClientSessionState {
	if len(o.got) == 0 {
		return nil
	}
	return o.got[len(o.got)-1]
}

// firstData tells when a connection's first Read returns.
type firstData struct {
	net.Conn
	came func()
}

func (f *firstData) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if f.came != nil {
		f.came()
		f.came = nil
	}
	return n, err
}
