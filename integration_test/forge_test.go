package integration_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

func none(testing.TB, *site) *tls.ClientSessionState { return nil }

func zero(testing.TB, *site) *tls.ClientSessionState { return new(tls.ClientSessionState) }

func empty(testing.TB, *site) *tls.ClientSessionState {
	return tlstest.Must(tls.NewResumptionState([]byte("ticket"), new(tls.SessionState)))
}

// A keeper is a tls.ClientSessionCache that keeps one and offers none.
type keeper struct{ last *tls.ClientSessionState }

func (k *keeper) Get(string) (*tls.ClientSessionState, bool)  { return nil, false }
func (k *keeper) Put(_ string, state *tls.ClientSessionState) { k.last = state }

// genuine is a session as crypto/tls receives it.
func genuine(t testing.TB, addr string, config *tls.Config) (ticket []byte, state *tls.SessionState) {
	t.Helper()
	kept := new(keeper)
	plugged(config, kept, nil).full(t, addr)
	ticket, state, err := kept.last.ResumptionState()
	require.NoError(t, err)
	return ticket, state
}

// labelled is one with a random ticket of that size.
func labelled(size int) func(testing.TB, *site) *tls.ClientSessionState {
	return func(t testing.TB, s *site) *tls.ClientSessionState {
		_, state := genuine(t, s.Addr, s.client)
		label := make([]byte, size)
		rand.Read(label)
		return tlstest.Must(tls.NewResumptionState(label, state))
	}
}

// extra is one with an entry of another layer.
func extra(entry func() []byte) func(testing.TB, *site) *tls.ClientSessionState {
	return func(t testing.TB, s *site) *tls.ClientSessionState {
		ticket, state := genuine(t, s.Addr, s.client)
		state.Extra = append(state.Extra, entry())
		return tlstest.Must(tls.NewResumptionState(ticket, state))
	}
}

// tooLong is an entry that no encoding has room for.
var tooLong = sync.OnceValue(func() []byte { return make([]byte, 1<<24) })

func early(t testing.TB, s *site) *tls.ClientSessionState {
	ticket, state := genuine(t, s.Addr, s.client)
	state.EarlyData = true
	return tlstest.Must(tls.NewResumptionState(ticket, state))
}

func unverified(t testing.TB, s *site) *tls.ClientSessionState {
	return tlstest.Must(tls.NewResumptionState(genuine(t, s.Addr, s.with(func(c *tls.Config) {
		c.InsecureSkipVerify = true
	}))))
}

func ofAnotherCA(t testing.TB, _ *site) *tls.ClientSessionState {
	other := newSite(t, setup{})
	return tlstest.Must(tls.NewResumptionState(genuine(t, other.Addr, other.client)))
}

func ofAnotherName(t testing.TB, s *site) *tls.ClientSessionState {
	other := serve(t, tlstest.Options{Config: &tls.Config{
		Certificates: []tls.Certificate{issue(s.ca, "other.test")},
	}})
	return tlstest.Must(tls.NewResumptionState(genuine(t, other.Addr, s.with(named("other.test")))))
}

// ofAServer is what a server keeps, without any certificate.
func ofAServer(t testing.TB, _ *site) *tls.ClientSessionState {
	theirs := make(chan *tls.SessionState, 1)
	other := newSite(t, setup{server: func(c *tls.Config) {
		c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
			theirs <- state
			return c.EncryptTicket(cs, state)
		}
	}})
	ticket, _ := genuine(t, other.Addr, other.client)
	return tlstest.Must(tls.NewResumptionState(ticket, <-theirs))
}

// edited is one whose encoding was changed, as far as crypto/tls reads it back.
// Where its fields are is written in package ticket.
func edited(changes ...func([]byte) []byte) func(testing.TB, *site) *tls.ClientSessionState {
	return func(t testing.TB, s *site) *tls.ClientSessionState {
		ticket, state := genuine(t, s.Addr, s.client)
		encoded, err := state.Bytes()
		require.NoError(t, err)
		for _, change := range changes {
			encoded = change(encoded)
		}
		state, err = tls.ParseSessionState(encoded)
		require.NoError(t, err)
		return tlstest.Must(tls.NewResumptionState(ticket, state))
	}
}

// put overwrites what is at a place, from the end if that is negative.
func put(at int, content ...byte) func([]byte) []byte {
	return func(encoded []byte) []byte {
		start := at
		if at < 0 {
			start += len(encoded)
		}
		copy(encoded[start:], content)
		return encoded
	}
}

func number(at int, n uint64) func([]byte) []byte {
	return put(at, binary.BigEndian.AppendUint64(nil, n)...)
}

func appended(size int) func([]byte) []byte {
	return func(encoded []byte) []byte { return append(encoded, make([]byte, size)...) }
}

// masterSecret says whether it was an extended one. That follows the secret
// and, with its length, what other layers added: nothing.
func masterSecret(extended byte) func([]byte) []byte {
	return func(encoded []byte) []byte { return put(14+int(encoded[13])+3, extended)(encoded) }
}
