package resume_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// echoServer is a throwaway TLS server and a configuration that trusts it.
func echoServer() (server *tlstest.Server, client *tls.Config) {
	ca := tlstest.Must(tlstest.NewCA("example"))
	certificate := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	server = tlstest.Must(tlstest.NewServer(tlstest.Options{
		Config: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}))
	return server, &tls.Config{RootCAs: ca.Pool()}
}

// say writes and reads, which brings the session.
func say(conn io.ReadWriter) {
	fmt.Fprint(conn, "hi")
	io.ReadFull(conn, make([]byte, 2))
}

func ExampleDialer() {
	server, config := echoServer()
	defer server.Close()

	var cache resume.ClientCache
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	for range 3 {
		conn, err := dialer.Dial("tcp", server.Addr)
		if err != nil {
			fmt.Println(err)
			return
		}
		say(conn)
		fmt.Println("resumed:", conn.ConnectionState().DidResume, "received:", conn.Get0Session().Status())
		conn.Close()
	}
	fmt.Println(cache.Stats())
	// Output:
	// resumed: false received: Resumable
	// resumed: true received: Resumable
	// resumed: true received: Resumable
	// captured 3 = used 2 + expired 0 + evicted 0 + removed 0 + failed 0 + kept 1; full 1, resumed 2
}

// Before a burst, a session for each connection of it.
func ExampleDialer_Warm() {
	server, config := echoServer()
	defer server.Close()

	var cache resume.ClientCache
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	have, err := dialer.Warm(context.Background(), "tcp", server.Addr, 4)
	fmt.Println(have, err)
	for range 4 {
		conn, err := dialer.Dial("tcp", server.Addr)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer conn.Close()
		fmt.Println("resumed:", conn.ConnectionState().DidResume)
	}
	// Output:
	// 4 <nil>
	// resumed: true
	// resumed: true
	// resumed: true
	// resumed: true
}

func ExampleClientCache_TLSConfig() {
	server, config := echoServer()
	defer server.Close()

	var cache resume.ClientCache
	config = cache.TLSConfig(config) // once; keep the result
	for range 2 {
		conn, err := tls.Dial("tcp", server.Addr, config)
		if err != nil {
			fmt.Println(err)
			return
		}
		say(conn)
		fmt.Println("resumed:", conn.ConnectionState().DidResume)
		conn.Close()
	}
	// Output:
	// resumed: false
	// resumed: true
}

func ExampleClientCache() {
	server, config := echoServer()
	defer server.Close()

	cache := &resume.ClientCache{
		NewSession:    func(s *resume.Session) { fmt.Println("new:", s.Status()) },
		RemoveSession: func(s *resume.Session) { fmt.Println("gone:", s.Status(), s.Reason()) },
	}
	config.ClientSessionCache = cache
	for range 2 {
		conn, err := tls.Dial("tcp", server.Addr, config)
		if err != nil {
			fmt.Println(err)
			return
		}
		say(conn)
		conn.Close()
	}
	// Output:
	// new: Resumable
	// gone: Used used
	// new: Resumable
}

func ExampleSession() {
	server, config := echoServer()
	defer server.Close()

	var cache resume.ClientCache
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	conn, err := dialer.Dial("tcp", server.Addr)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conn.Get0Session().Status())
	say(conn)
	session := conn.Get1Session()
	conn.Close()
	fmt.Println(session.Status())

	exactly := *dialer
	exactly.Session = session
	if conn, err = exactly.Dial("tcp", server.Addr); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("resumed:", conn.ConnectionState().DidResume)
	conn.Close()
	_, err = exactly.Dial("tcp", server.Addr)
	fmt.Println(err)
	session.Release()
	fmt.Println(session.Status())
	// Output:
	// Pending
	// Resumable
	// resumed: true
	// resume: session is not resumable: Used (used)
	// Freed
}

// STARTTLS: the connection is there before TLS is.
func ExampleScope_NewConn() {
	server, config := echoServer()
	defer server.Close()
	config.ServerName = "localhost"

	var cache resume.ClientCache
	scope := cache.Scope("tenant-7")
	for range 2 {
		raw, err := net.Dial("tcp", server.Addr)
		if err != nil {
			fmt.Println(err)
			return
		}
		conn := scope.NewConn(raw, config)
		say(conn)
		fmt.Println("resumed:", conn.ConnectionState().DidResume)
		conn.Close()
	}
	fmt.Println(scope, scope.Get0Session("localhost").Status())
	// Output:
	// resumed: false
	// resumed: true
	// Scope("tenant-7") Resumable
}

func ExampleConn() {
	server, config := echoServer()
	defer server.Close()

	var cache resume.ClientCache
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	for range 2 {
		conn, err := dialer.Dial("tcp", server.Addr)
		if err != nil {
			fmt.Println(err)
			return
		}
		session, err := conn.WaitSession(context.Background())
		fmt.Println("resumed:", conn.ConnectionState().DidResume, "received:", session.Status(), err)
		fmt.Println(conn.Shutdown(context.Background()))
	}
	// Output:
	// resumed: false received: Resumable <nil>
	// <nil>
	// resumed: true received: Resumable <nil>
	// <nil>
}

// The data connection of FTPS must resume the session of its control
// connection.
func ExampleSession_ClientSessionCache() {
	server, config := echoServer()
	defer server.Close()

	var cache resume.ClientCache
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	control, err := dialer.Dial("tcp", server.Addr)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer control.Close()
	session, err := control.WaitSession(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}

	config = config.Clone()
	config.ClientSessionCache = session.ClientSessionCache()
	data, err := tls.Dial("tcp", server.Addr, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer data.Close()
	fmt.Println("resumed:", data.ConnectionState().DidResume, session.Status())
	// Output:
	// resumed: true Used
}

func ExampleEvent() {
	server, config := echoServer()
	defer server.Close()

	cache := &resume.ClientCache{Observe: func(e resume.Event) {
		if e.Kind == resume.HandshakeDone {
			fmt.Println(e.Kind, e.Resumed, e.Reason)
		}
	}}
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	for range 2 {
		conn, err := dialer.Dial("tcp", server.Addr)
		if err != nil {
			fmt.Println(err)
			return
		}
		say(conn)
		conn.Close()
	}
	// Output:
	// HandshakeDone false none
	// HandshakeDone true
}
