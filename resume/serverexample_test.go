package resume_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A server that sees the session of each connection. A client that comes back
// with the ticket it has just been sent is resumed; with the same ticket again
// it is not.
func ExampleServerCache() {
	ca := tlstest.Must(tlstest.NewCA("example"))
	certificate := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	inner := tlstest.Must(net.Listen("tcp", "127.0.0.1:0"))

	var cache resume.ServerCache // in memory, each session once
	listener := cache.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{certificate}})
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept() // a *tls.Conn
			if err != nil {
				return
			}
			io.ReadFull(conn, make([]byte, 2))
			session := cache.Get0Session(conn) // the one that was sent
			fmt.Fprintf(conn, "%v, resumption %d\n", session.Status(), session.Info().Resumptions)
			conn.Close()
		}
	}()

	client := &tls.Config{RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	for range 3 {
		conn := tlstest.Must(tls.Dial("tcp", inner.Addr().String(), client))
		fmt.Fprint(conn, "hi")
		answer, _ := io.ReadAll(conn)
		fmt.Printf("resumed: %v, sent: %s", conn.ConnectionState().DidResume, answer)
		conn.Close()
	}
	// Output:
	// resumed: false, sent: Resumable, resumption 0
	// resumed: true, sent: Resumable, resumption 1
	// resumed: true, sent: Resumable, resumption 2
}
