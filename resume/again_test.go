package resume

import (
	"bytes"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mined connection keeps what was written, and its first Read panics.
type mined struct {
	net.Conn
	written []byte
	entered chan struct{}
	goOn    chan struct{}
}

func (m *mined) Write(b []byte) (int, error) {
	m.written = append(m.written, b...)
	return m.Conn.Write(b)
}

func (m *mined) Read(b []byte) (int, error) {
	if m.entered != nil {
		close(m.entered)
		m.entered = nil
		<-m.goOn
		panic("by the raw connection")
	}
	return m.Conn.Read(b)
}

// Behind a handshake that a panic broke off, crypto/tls lets whoever waits for
// it begin another on the same connection. The first has sent the ticket.
func TestHandshakeBehindAPanicOffersNoTicketAgain(t *testing.T) {
	p, c := newPeer(t), new(ClientCache)
	scope := c.NewScope()
	p.stock(t, scope, 1)
	entered := make(chan struct{})
	raw := &mined{Conn: p.serve(), entered: entered, goOn: make(chan struct{})}
	conn := scope.NewConn(raw, p.client)
	first, second := make(chan any, 1), make(chan error, 1)
	go func() {
		defer func() { first <- recover() }()
		conn.Handshake()
	}()
	<-entered
	ticket := conn.lease.ticket()
	conn.mu.Lock() // the first cannot settle before the second has begun
	go func() { second <- conn.tls.Handshake() }()
	close(raw.goOn)
	require.Error(t, <-second)
	conn.mu.Unlock()
	require.NotNil(t, <-first)
	conn.Close()
	require.Equal(t, 1, bytes.Count(raw.written, ticket))
	require.EqualValues(t, 1, checkStats(t, c).Used)
}
