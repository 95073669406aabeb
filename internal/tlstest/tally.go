package tlstest

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
)

// A Tally counts the connections of a listener by how they began, as the
// server sees it.
type Tally struct{ Full, Resumed atomic.Int64 }

// Serve echoes, and counts, until the listener is closed. Its connections are
// those of crypto/tls.
func (n *Tally) Serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			server := conn.(*tls.Conn)
			if server.Handshake() != nil {
				return
			}
			if server.ConnectionState().DidResume {
				n.Resumed.Add(1)
			} else {
				n.Full.Add(1)
			}
			io.Copy(conn, conn)
		}()
	}
}
