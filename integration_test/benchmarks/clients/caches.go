package clients

import (
	"crypto/tls"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"
)

// servers is how many servers the standard library's cache has room for by
// default; the others get as much.
const servers = 64

// perServer is how many tickets of a server a naive pool keeps, as this layer
// does by default.
const perServer = 64

// A naive pool is what one writes first to use tickets once: a mutex and a
// stack for each server. It knows of no expiry, no bound in all, no scope and
// no TLS 1.2, whose sessions it throws away after one use.
type naive struct {
	mu       sync.Mutex // guards sessions
	sessions map[string][]*tls.ClientSessionState
}

// NewNaive makes a naive pool.
func NewNaive() tls.ClientSessionCache {
	return &naive{sessions: make(map[string][]*tls.ClientSessionState)}
}

func (n *naive) Get(key string) (*tls.ClientSessionState, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	stack := n.sessions[key]
	if len(stack) == 0 {
		return nil, false
	}
	newest := len(stack) - 1
	cs := stack[newest]
	n.sessions[key], stack[newest] = stack[:newest], nil
	return cs, true
}

func (n *naive) Put(key string, cs *tls.ClientSessionState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cs == nil {
		return
	}
	stack := append(n.sessions[key], cs)
	n.sessions[key] = stack[max(0, len(stack)-perServer):]
}

// golangLRU keeps one ticket for each server, as the standard cache does.
type golangLRU struct {
	*lru.Cache[string, *tls.ClientSessionState]
}

// NewGolangLRU makes a session cache of golang-lru v2.
func NewGolangLRU() tls.ClientSessionCache {
	cache, err := lru.New[string, *tls.ClientSessionState](servers)
	if err != nil {
		panic(err) // the size is not positive
	}
	return golangLRU{cache}
}

func (c golangLRU) Put(key string, cs *tls.ClientSessionState) {
	if cs == nil {
		c.Remove(key)
		return
	}
	c.Add(key, cs)
}

// otterCache keeps one ticket for each server, as the standard cache does.
type otterCache struct {
	cache *otter.Cache[string, *tls.ClientSessionState]
}

// NewOtter makes a session cache of otter v2.
func NewOtter() tls.ClientSessionCache {
	return otterCache{otter.Must(&otter.Options[string, *tls.ClientSessionState]{MaximumSize: servers})}
}

func (c otterCache) Get(key string) (*tls.ClientSessionState, bool) { return c.cache.GetIfPresent(key) }

func (c otterCache) Put(key string, cs *tls.ClientSessionState) {
	if cs == nil {
		c.cache.Invalidate(key)
		return
	}
	c.cache.Set(key, cs)
}
