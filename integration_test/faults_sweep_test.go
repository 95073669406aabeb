package integration_test

import (
	"crypto/tls"
	"flag"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

var everyOffset = flag.Bool("every-offset", false, "break connections after every byte and by every way in, not after some and by some")

// A victim is a server whose connections are broken.
type victim struct {
	name  string
	fresh int // tickets that a full handshake brings
	start func(testing.TB) (addr string, client *tls.Config, seen *tlstest.Identities)
	stock func(testing.TB, *bench) // brings some tickets
}

var victims = []victim{
	{
		name: "Go", fresh: 1, // in the flight of its Finished
		start: func(t testing.TB) (string, *tls.Config, *tlstest.Identities) {
			s := newSite(t, setup{server: newKeys})
			return s.Addr, s.with(onlyP256), s.Identities
		},
		stock: func(t testing.TB, b *bench) { b.entry.stock(t, b.proxy.Addr, 16) },
	}, {
		// In its last flight. It serves one connection after the other.
		name: "openssl s_server", fresh: 4,
		start: func(t testing.TB) (string, *tls.Config, *tlstest.Identities) {
			o := newOpenSSL(t, "-num_tickets", "4")
			onlyP256(o.client)
			return o.Addr, o.client, new(tlstest.Identities)
		},
		stock: func(t testing.TB, b *bench) { b.full(t, b.proxy.Addr) },
	},
}

// faultWays are the three ways in that differ in what they know.
func faultWays() []way {
	if *everyOffset {
		return ways
	}
	return slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return w.name == "Scope" || w.name == "NewConn" })
}

// Whatever becomes of a connection, and whenever: the ticket it offered is
// used, no other is, what it brought is good or gone, and the next one works.
func TestAFaultAfterAnyByteCostsOneTicket(t *testing.T) {
	for _, v := range victims {
		t.Run(v.name, func(t *testing.T) {
			descriptorCheck(t)
			addr, client, seen := v.start(t)
			for _, w := range faultWays() {
				for _, resumed := range []bool{false, true} {
					name := w.name + "/full"
					if resumed {
						name = w.name + "/resumed"
					}
					t.Run(name, func(t *testing.T) {
						descriptorCheck(t)
						leakCheck(t)
						b := newBench(t, w, new(resume.ClientCache), addr, client, v.fresh)
						b.sweep(t, v, resumed, faultKinds)
						requireNoReuse(t, b.proxy.Identities)
					})
				}
			}
			requireNoReuse(t, seen)
		})
	}
}

var faultKinds = []tlstest.FaultKind{
	tlstest.Refuse, tlstest.Finish, tlstest.Reset, tlstest.Truncate,
	tlstest.Stall, tlstest.Flip, tlstest.Delay,
}

// With StrictClose an end without close_notify costs what the connection
// brought, too, wherever it comes.
func TestAnUncleanEndAfterAnyByteForfeitsWithStrictClose(t *testing.T) {
	v := victims[0]
	addr, client, seen := v.start(t)
	for _, w := range ways[len(ways)-2:] { // those that see the end
		t.Run(w.name, func(t *testing.T) {
			b := newBench(t, w, &resume.ClientCache{StrictClose: true}, addr, client, v.fresh)
			b.strict = true
			b.sweep(t, v, false, []tlstest.FaultKind{tlstest.Finish, tlstest.Reset})
			b.sweep(t, v, true, []tlstest.FaultKind{tlstest.Finish, tlstest.Reset})
			require.Positive(t, b.heard.since(0)["SessionEnded unclean"])
		})
	}
	requireNoReuse(t, seen)
}

// In TLS 1.2 it is the session that is at stake, which is used again. If the
// server may be at fault it is offered no more, and the next connection works
// either way.
func TestAFaultAfterAnyByteOfTLS12LeavesTheNextConnectionAlone(t *testing.T) {
	v := victim{fresh: 1, stock: func(t testing.TB, b *bench) { b.entry.stock(t, b.proxy.Addr, 2) }}
	for _, w := range faultWays() {
		t.Run(w.name, func(t *testing.T) {
			descriptorCheck(t)
			s := newSite(t, setup{server: onlyTLS12})
			b := newBench(t, w, new(resume.ClientCache), s.Addr, s.with(onlyP256), 1)
			b.old = true
			b.sweep(t, v, true, faultKinds[1:])
		})
	}
}

// sweep makes each fault at each point of a full or a resumed connection.
func (b *bench) sweep(t *testing.T, v victim, resumed bool, kinds []tlstest.FaultKind) {
	b.prepare(t, v, resumed)
	whole := b.attempt(noFault)
	b.check(t, whole)
	points := 0
	for _, kind := range kinds {
		for _, direction := range []tlstest.Direction{tlstest.ToServer, tlstest.ToClient} {
			for _, after := range offsets(whole.trial.Records(direction), kind) {
				b.prepare(t, v, resumed)
				o := b.attempt(tlstest.Fault{Kind: kind, Direction: direction, After: after})
				b.check(t, o)
				b.recovers(t, o)
				points++
			}
		}
	}
	t.Log(strconv.Itoa(points), "faults")
}

// prepare sees to it that the next connection is to be a full one, or that it
// and the one after it are to be resumed.
func (b *bench) prepare(t *testing.T, v victim, resumed bool) {
	t.Helper()
	switch pooled := b.c.Stats().Pooled; {
	case !resumed:
		require.NoError(t, b.c.Clear(t.Context()))
	case pooled < 2:
		require.NoError(t, b.c.Clear(t.Context()))
		v.stock(t, b)
	}
}

// offsets are where a fault is to happen in a direction whose records ended
// there: around each boundary, and every so often between.
func offsets(ends []int, kind tlstest.FaultKind) (all []int) {
	if kind == tlstest.Refuse {
		return []int{0}
	}
	total, stride := ends[len(ends)-1], 151
	if *everyOffset {
		stride = 1
	}
	for _, end := range append([]int{0}, ends...) {
		all = append(all, end-1, end, end+1, end+5) // 5: the header has passed
	}
	for at := 0; at < total; at += stride {
		all = append(all, at)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(at int) bool { return at < 0 || at > total })
}

// rawListener is a port that nobody serves.
func rawListener(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}
