package integration_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/resume"
)

// A callback that panics while a connection is made on Warm's account is its
// caller's to hear of, as with WaitSession and Read, and does not end the process.
func TestAPanicInAWarmReachesItsCaller(t *testing.T) {
	s := newSite(t, setup{})
	c := newCache(t, new(resume.ClientCache))
	boom := errors.New("boom")
	c.NewSession = func(*resume.Session) { panic(boom) }
	d := &resume.Dialer{Scope: c.NewScope(), Config: s.with(onlyP256)}
	func() {
		defer func() { require.ErrorIs(t, recover().(error), boom) }()
		d.Warm(t.Context(), "tcp", s.Addr, 4)
		t.Error("the panic was swallowed")
	}()
	c.Stats() // not stuck behind a lock
}
