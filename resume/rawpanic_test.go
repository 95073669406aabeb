package resume

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// A rupture is a connection whose first Write sends what it is given and then
// does not return.
type rupture struct {
	net.Conn
	breaks func()
}

func (r *rupture) Write(b []byte) (int, error) {
	n, err := r.Conn.Write(b)
	if f := r.breaks; f != nil {
		r.breaks = nil
		f()
	}
	return n, err
}

// A raw connection that panics behind its Write has sent the ticket all the
// same, and so has one that ends the goroutine.
func TestTicketOfAWriteThatDoesNotReturnIsUsed(t *testing.T) {
	for name, breaks := range map[string]func(){
		"panic":  func() { panic("by the raw connection") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			p, c := newPeer(t), new(ClientCache)
			scope := c.NewScope()
			p.stock(t, scope, 1)
			raw := &rupture{Conn: p.serve(), breaks: breaks}
			conn := scope.NewConn(raw, p.client)
			over := make(chan struct{})
			go func() {
				defer close(over)
				defer func() { recover() }()
				conn.Handshake()
			}()
			<-over
			raw.Read(make([]byte, 1)) // the server has seen the hello
			conn.Close()
			require.EqualValues(t, 1, checkStats(t, c).Used)
			require.False(t, p.bound(t, scope, false).ConnectionState().DidResume)
			require.Zero(t, p.seen.Counts().Reused)
		})
	}
}
