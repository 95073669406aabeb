package integration_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// The server's half as code outside this repository compiles against it.
func TestTheServersAPIStands(t *testing.T) {
	var cache resume.ServerCache
	var (
		_ **resume.SealedStore   = &cache.Store
		_ **ticket.Keyring       = &cache.Keyring
		_ *string                = &cache.Scope
		_ *time.Duration         = &cache.Lifetime
		_ *int                   = &cache.MaxSessions
		_ *int64                 = &cache.MaxBytes
		_ *bool                  = &cache.EarlyData
		_ *func(*resume.Session) = &cache.NewSession
		_ *func(*resume.Session) = &cache.RemoveSession
		_ *func(resume.Event)    = &cache.Observe

		_ func(*tls.Config) *tls.Config                = cache.TLSConfig
		_ func(net.Listener, *tls.Config) net.Listener = cache.NewListener
		_ func(net.Conn) *resume.Session               = cache.Get0Session
		_ func(net.Conn) *resume.Session               = cache.Get1Session
		_ func(*resume.Session) bool                   = cache.Remove
		_ func() resume.Stats                          = cache.Stats
		_ func() error                                 = cache.Close
	)
	require.Zero(t, cache.Stats(), "the zero value is ready")
	require.NoError(t, cache.Close())
}
