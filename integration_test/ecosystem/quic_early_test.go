package ecosystem_test

import (
	"context"
	"crypto/tls"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A lookout is the client's own log of what it sends, and ends seen with the
// first stream frame in a 0-RTT packet.
type lookout struct {
	once sync.Once
	seen chan struct{}
}

func (l *lookout) AddProducer() qlogwriter.Recorder { return l }
func (l *lookout) Close() error                     { return nil }

func (l *lookout) RecordEvent(event qlogwriter.Event) {
	sent, ok := event.(qlog.PacketSent)
	if !ok || sent.Header.PacketType != qlog.PacketType0RTT {
		return
	}
	for _, frame := range sent.Frames {
		if _, ok := frame.Frame.(*qlog.StreamFrame); ok {
			l.once.Do(func() { close(l.seen) })
		}
	}
}

// What is written at once goes out in 0-RTT: before the server has answered the
// ClientHello, which it does not until then.
func TestQUICSendsDataInTheFirstFlight(t *testing.T) {
	const visits = 4
	leakCheck(t)
	server := newQUICServer()
	t.Cleanup(server.stop)
	config := newQUICConfig(newCache(t), server.client)
	server.visit(t, config)
	for range visits {
		early := &lookout{seen: make(chan struct{})}
		server.hold(early.seen)
		conn, err := quic.DialAddrEarly(bounded(t), server.addr, config, &quic.Config{
			Tracer: func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace { return early },
		})
		require.NoError(t, err)
		answer, err := askNow(bounded(t), conn)
		require.NoError(t, err)
		assert.Equal(t, "HELLO", answer)
		server.hold(nil)
		_, err = ask(bounded(t), conn) // brings the ticket
		require.NoError(t, err)
		assert.True(t, conn.ConnectionState().Used0RTT)
		require.NoError(t, conn.CloseWithError(0, ""))
		select {
		case <-early.seen:
		default:
			require.Fail(t, "no stream frame was sent in 0-RTT")
		}
	}
	counts := requireNoReuse(t, server.seen)
	assert.Equal(t, 1+visits, counts.Connections)
	assert.Equal(t, visits, counts.Offered)
}

// hold makes the server wait before it answers a ClientHello.
func (s *quicServer) hold(until <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = until
}

// holding is a configuration that obeys hold.
func (s *quicServer) holding(config *tls.Config) *tls.Config {
	config = config.Clone()
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		held := s.held
		s.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-hello.Context().Done():
				return nil, hello.Context().Err()
			}
		}
		return inner(hello)
	}
	return config
}
