package integration_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/cachetest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// What others compile against. A change here breaks them.
var (
	_ tls.ClientSessionCache = (*resume.ClientCache)(nil)
	_ tls.ClientSessionCache = (*resume.Scope)(nil)
	_ net.Conn               = (*resume.Conn)(nil)

	_ interface {
		sessions
		TLSConfig(*tls.Config) *tls.Config
		Scope(string) *resume.Scope
		NewScope() *resume.Scope
		Remove(*resume.Session) bool
		Clear(context.Context) error
		Sweep() int
		Stats() resume.Stats
		Flush(context.Context) error
		Close() error
	} = (*resume.ClientCache)(nil)

	_ interface {
		sessions
		TLSConfig(*tls.Config) *tls.Config
		NewConn(net.Conn, *tls.Config) *resume.Conn
		Clear(context.Context) error
	} = (*resume.Scope)(nil)

	_ interface {
		Dial(network, addr string) (*resume.Conn, error)
		DialContext(ctx context.Context, network, addr string) (*resume.Conn, error)
		DialTLSContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = (*resume.Dialer)(nil)

	_ interface {
		Get0Session() *resume.Session
		Get1Session() *resume.Session
		WaitSession(context.Context) (*resume.Session, error)
		Shutdown(context.Context) error
		ConnectionState() tls.ConnectionState
		Handshake() error
		HandshakeContext(context.Context) error
		CloseWrite() error
		NetConn() net.Conn
	} = (*resume.Conn)(nil)

	_ interface {
		Status() resume.Status
		Reason() string
		Resumable() bool
		Retain() *resume.Session
		Release()
		Same(*resume.Session) bool
		Info() ticket.Info
		ClientSessionCache() tls.ClientSessionCache
	} = (*resume.Session)(nil)

	_ func(cache.Store, *ticket.Keyring) *resume.SealedStore = resume.Seal
	_ func([]byte, *tls.SessionState) (ticket.Info, error)   = ticket.Inspect
	_ func(...[32]byte) (*ticket.Keyring, error)             = ticket.NewKeyring
	_ func(*testing.T, func(*testing.T) cache.Store)         = cachetest.TestStore
	_                                                        = [...]error{resume.ErrNotResumable, resume.ErrOtherScope, resume.ErrNoTicket, cache.ErrMiss}
	_                                                        = (*ticket.Keyring).Set
	_                                                        = resume.Dialer{Scope: nil, NetDialer: nil, Config: nil, Session: nil}
)

func TestStatusesHaveTheirNames(t *testing.T) {
	require.Zero(t, resume.Unknown)
	for want, status := range map[string]resume.Status{
		"Unknown": resume.Unknown, "Pending": resume.Pending, "Resumable": resume.Resumable, "Used": resume.Used,
		"Expired": resume.Expired, "Failed": resume.Failed, "Removed": resume.Removed, "Freed": resume.Freed,
	} {
		require.Equal(t, want, status.String())
	}
}
