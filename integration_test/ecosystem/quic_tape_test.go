package ecosystem_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlogwriter"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/stretchr/testify/require"
)

// A tape is the first flight of a client, which nobody has seen yet.
type tape [][]byte

// record lets a client with a ticket write to where nobody answers. Nothing in
// its first flight is bound to an address: it has no token of the server's.
func record(t testing.TB, client *tls.Config) tape {
	t.Helper()
	deaf, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer deaf.Close()
	require.NoError(t, deaf.SetReadDeadline(time.Now().Add(patience)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	early := &lookout{seen: make(chan struct{})}
	conn, err := quic.DialAddrEarly(ctx, deaf.LocalAddr().String(), client, &quic.Config{
		Tracer: func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace { return early },
	})
	require.NoError(t, err)
	defer conn.CloseWithError(0, "") // after the last that is recorded
	stream, err := conn.OpenStreamSync(ctx)
	require.NoError(t, err)
	_, err = stream.Write([]byte("hello"))
	require.NoError(t, err)
	select {
	case <-early.seen:
	case <-ctx.Done():
		require.Fail(t, "no stream frame was sent in 0-RTT")
	}
	var flight tape
	for complete := false; !complete; {
		packet := make([]byte, 2048)
		n, _, err := deaf.ReadFromUDP(packet)
		require.NoError(t, err)
		flight = append(flight, packet[:n])
		complete = has0RTT(packet[:n])
	}
	return flight
}

// has0RTT reports whether a datagram of a client's first flight has a 0-RTT
// packet, alone or behind Initials (RFC 9000, Sections 12.2 and 17.2).
func has0RTT(datagram []byte) bool {
	const long, kind, initial, early = 0x80, 0x30, 0x00, 0x10
	for len(datagram) > 7 && datagram[0]&long != 0 {
		switch datagram[0] & kind {
		case early:
			return true
		case initial:
		default:
			return false
		}
		at := 5 // behind the version: two IDs, a token, the rest
		at += 1 + int(datagram[at])
		at += 1 + int(datagram[at])
		for range 2 {
			length, n, err := quicvarint.Parse(datagram[at:])
			if err != nil {
				return false
			}
			at += n + int(length)
		}
		datagram = datagram[at:]
	}
	return false
}

// play sends the flight from a new address until the server has had a
// connection more, with it or without 0-RTT.
func (f tape) play(t testing.TB, s *replayed) {
	t.Helper()
	from, err := net.DialUDP("udp", nil, s.addr)
	require.NoError(t, err)
	defer from.Close()
	before := len(s.seen())
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); len(s.seen()) == before; <-again.C {
		if time.Now().After(deadline) {
			t.Error("the replay reached nobody")
			return
		}
		for _, packet := range f {
			from.Write(packet)
		}
	}
}
