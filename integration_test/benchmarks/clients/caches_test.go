package clients

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNaivePoolGivesEachTicketOutOnceTheNewestFirst(t *testing.T) {
	pool := NewNaive()
	var put []*tls.ClientSessionState
	for range perServer + 3 {
		put = append(put, new(tls.ClientSessionState))
		pool.Put("server", put[len(put)-1])
	}
	pool.Put("server", nil) // names no ticket
	for i := range perServer {
		cs, ok := pool.Get("server")
		require.True(t, ok)
		require.Same(t, put[len(put)-1-i], cs)
	}
	_, ok := pool.Get("server")
	require.False(t, ok, "the oldest made room")
}

// As the standard library's cache is meant to (tls.ClientSessionCache).
func TestOthersKeepOneTicketAndForgetItAtANilPut(t *testing.T) {
	for name, cache := range map[string]tls.ClientSessionCache{GolangLRU: NewGolangLRU(), Otter: NewOtter()} {
		older, newer := new(tls.ClientSessionState), new(tls.ClientSessionState)
		cache.Put("server", older)
		cache.Put("server", newer)
		for range 2 {
			cs, ok := cache.Get("server")
			require.True(t, ok, name)
			require.Same(t, newer, cs, name)
		}
		cache.Put("server", nil)
		cs, ok := cache.Get("server")
		require.False(t, ok, name)
		require.Nil(t, cs, name)
	}
}
