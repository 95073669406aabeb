package resume

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever was remembered before, also in the same place.
func TestEndpointIsTheAddressAsItIsWritten(t *testing.T) {
	addrs := []*net.TCPAddr{
		{IP: net.IP{192, 0, 2, 1}, Port: 443},
		{IP: net.IP{192, 0, 2, 2}, Port: 442}, // these three have one place
		{IP: net.IP{198, 51, 100, 1}, Port: 443},
		{IP: net.IPv4(192, 0, 2, 1), Port: 443},
		{IP: net.IP{192, 0, 2, 1}, Port: 443 + 64},
		{IP: net.ParseIP("2001:db8::1"), Port: 443},
		{IP: net.ParseIP("fe80::1"), Port: 443},
		{IP: net.ParseIP("fe80::1"), Port: 443, Zone: "eth0"},
		{IP: net.ParseIP("fe80::1"), Port: 443, Zone: "eth1"},
		{Port: 443},
		{IP: net.IP{1, 2, 3}, Port: 443},
		{IP: net.IP{1, 2, 3, 4}, Port: -443},
		nil,
	}
	for range 2 {
		for _, addr := range addrs {
			for range 2 {
				require.Equal(t, addr.String(), endpointOf(addressed{addr: addr}))
			}
		}
	}
	require.Empty(t, endpointOf(addressed{}))
	require.Equal(t, "there", endpointOf(addressed{addr: &net.UnixAddr{Name: "there"}}))
}

func TestEndpointIsWrittenOnce(t *testing.T) {
	var raw net.Conn = addressed{addr: &net.TCPAddr{IP: net.IP{192, 0, 2, 9}, Port: 443}}
	endpointOf(raw)
	require.Zero(t, testing.AllocsPerRun(100, func() { endpointOf(raw) }))
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.addr }
