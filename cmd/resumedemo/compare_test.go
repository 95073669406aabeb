package main

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// crowded is a server, and a configuration that trusts it.
func crowded(t *testing.T) (*tlstest.Server, *tls.Config) {
	t.Helper()
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	server := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}}))
	t.Cleanup(server.Close)
	return server, &tls.Config{RootCAs: ca.Pool(), ServerName: serverName}
}

// All of a burst look for a ticket before any of them has received one. The
// standard cache has one for all of them, this one has one for each.
func TestABurstOffersAllItsTicketsAtOnce(t *testing.T) {
	const parallel, rounds = 5, 3
	server, config := crowded(t)
	w := workload{Name: "bursts", Server: "go", parallel: parallel, rounds: rounds, addr: server.Addr}
	for i, newClient := range []func(*tls.Config) client{newStandard, newLayer} {
		server.Identities.Reset()
		got, err := w.measure(newClient(config))
		require.NoError(t, err)
		require.Positive(t, got.CPU)
		got.CPU = 0
		require.Equal(t, result{
			Cache: []string{"standard", "tlsresume"}[i], Connections: parallel * rounds,
			Resumed: parallel * (rounds - 1), Captured: parallel * rounds,
		}, got)
		counts := server.Identities.Counts()
		require.Equal(t, parallel*(rounds-1), counts.Offered)
		require.Equal(t, []int{(parallel - 1) * (rounds - 1), 0}[i], counts.Reused)
	}
}

// lame is a client whose first connection fails before it writes anything.
type lame struct {
	*layer
	one sync.Once
}

func (l *lame) client(raw net.Conn) tlsConn {
	config := l.config
	l.one.Do(func() { config = new(tls.Config) })
	return l.scope.NewConn(raw, config)
}

func TestAConnectionThatFailsHoldsNoOtherUp(t *testing.T) {
	server, config := crowded(t)
	w := workload{parallel: 3, rounds: 1, addr: server.Addr}
	_, err := w.measure(&lame{layer: newLayer(config).(*layer)})
	require.ErrorContains(t, err, "ServerName")
	require.Equal(t, 2, server.Identities.Counts().Connections)
}

func TestABurstThatFailsEnds(t *testing.T) {
	server, config := crowded(t)
	distrustful := &tls.Config{ServerName: serverName}
	deaf := tlstest.Must(net.Listen("tcp", "127.0.0.1:0"))
	defer deaf.Close()
	go func() {
		for {
			conn, err := deaf.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	for why, row := range map[string]struct {
		addr   string
		config *tls.Config
		says   string
	}{
		"nobody listens":        {"127.0.0.1:1", config, "refused"},
		"all are hung up on":    {deaf.Addr().String(), config, ""},
		"nobody trusts":         {server.Addr, distrustful, "unknown authority"},
		"none begins with this": {server.Addr, &tls.Config{}, "ServerName"},
	} {
		w := workload{Name: "bursts", Server: "go", parallel: 3, rounds: 2, addr: row.addr}
		_, err := w.measure(newLayer(row.config))
		require.ErrorContains(t, err, "bursts on go: ", why)
		require.ErrorContains(t, err, row.says, why)
	}
}

func TestCompareEndsWithTheFirstServerThatFails(t *testing.T) {
	_, config := crowded(t)
	s := fakeServers(t, "127.0.0.1:1", new(tlstest.Identities))
	_, err := compare(s, config)
	require.ErrorContains(t, err, "refused")
}

func TestEveryServerMeetsTheSameBursts(t *testing.T) {
	planned := plan([]target{{"one", "1:1"}, {"two", "2:2"}})
	require.Len(t, planned, 6)
	for i, w := range planned {
		require.Equal(t, []int{1, 8, 64}[i%3], w.parallel)
		require.Equal(t, []string{"one", "two"}[i/3], w.Server)
		require.Equal(t, []string{"1:1", "2:2"}[i/3], w.addr)
		require.Positive(t, w.rounds)
	}
}

// reportOf is a report in which one connection of this layer's may have reused
// a ticket.
func reportOf(reused int) *report {
	return &report{Workloads: []workload{
		{Name: "2 parallel x 5", Server: "go", Results: []result{
			{"standard", 10, 8, 4, 10, 1000}, {"tlsresume", 10, 8, 0, 10, 900.4},
		}},
		{Name: "1 parallel x 10", Server: "openssl", Results: []result{
			{"standard", 10, 9, 0, 11, 800}, {"tlsresume", 10, 9, reused, 12, 700},
		}},
	}}
}

func TestATicketOfferedTwiceFailsTheProgram(t *testing.T) {
	require.NoError(t, reportOf(0).verdict(), "what the standard cache does is no failure")
	require.EqualError(t, reportOf(3).verdict(),
		"1 parallel x 10 on openssl: 3 connections offered a ticket that was used before")
}

func TestTheTableSaysWhatWasCounted(t *testing.T) {
	var out bytes.Buffer
	reportOf(1).print(&out)
	var rows [][]string
	for line := range strings.Lines(out.String()) {
		if words := strings.Fields(line); slices.Contains(words, "parallel") {
			rows = append(rows, words)
		}
	}
	require.Equal(t, [][]string{
		strings.Fields("go 2 parallel x 5 standard 10 80.0% 40.0% 10 1000 us"),
		strings.Fields("go 2 parallel x 5 tlsresume 10 80.0% 0.0% 10 900 us"),
		strings.Fields("openssl 1 parallel x 10 standard 10 90.0% 0.0% 11 800 us"),
		strings.Fields("openssl 1 parallel x 10 tlsresume 10 90.0% 10.0% 12 700 us"),
	}, rows)
	require.Contains(t, out.String(), "Standard: 85.0% resumed, 4 of 20 connections offered a used ticket. tlsresume: 85.0% resumed, 1 of 20.\n")
	require.Contains(t, out.String(), "not a round trip")
}

func TestTheLifeOfASession(t *testing.T) {
	server, config := crowded(t)
	var out bytes.Buffer
	require.NoError(t, life(&out, server.Addr, config))
	at := 0
	for _, said := range []string{
		"The life of one session:", "no ticket yet: Pending", "Resumable), until ", "resumed true: Used",
		"not resumable: Used (used)", "released: Freed",
	} {
		i := strings.Index(out.String()[at:], said)
		require.GreaterOrEqual(t, i, 0, "%q is not where it belongs in:\n%s", said, &out)
		at += i
	}
	require.Equal(t, tlstest.Counts{Connections: 2, Offered: 1}, server.Identities.Counts())
	require.Error(t, life(&out, "127.0.0.1:1", config))
}
