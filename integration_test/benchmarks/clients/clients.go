// Package clients holds what connections are made with: the session caches
// that people would plug into crypto/tls, and this layer in its ways.
package clients

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// The names of the arms.
const (
	Standard  = "standard LRU"
	Naive     = "naive pool"
	GolangLRU = "golang-lru"
	Otter     = "otter"
	Plugged   = "plugged"
	TLSConfig = "TLSConfig"
	Dialer    = "Dialer"
	Stored    = "Dialer+dirstore"
	Near      = "dirstore+near" // the same with NearTickets
)

// An Arm makes clients. Each has a cache of its own, which is empty; dir is an
// empty directory, for those that keep sessions there.
type Arm struct {
	Name string
	Ours bool // this layer, which must never offer a ticket twice
	New  func(config *tls.Config, dir string) (*Client, error)
}

// All is every arm, the one that the others are compared with first.
var All = []Arm{
	{Name: Standard, New: plug(func() tls.ClientSessionCache { return tls.NewLRUClientSessionCache(0) })},
	{Name: Naive, New: plug(NewNaive)},
	{Name: GolangLRU, New: plug(NewGolangLRU)},
	{Name: Otter, New: plug(NewOtter)},
	{Name: Plugged, Ours: true, New: plug(func() tls.ClientSessionCache { return new(resume.ClientCache) })},
	{Name: TLSConfig, Ours: true, New: func(config *tls.Config, _ string) (*Client, error) {
		return dialing(new(resume.ClientCache).TLSConfig(config)), nil
	}},
	{Name: Dialer, Ours: true, New: func(config *tls.Config, _ string) (*Client, error) {
		return bound(new(resume.ClientCache), config), nil
	}},
	{Name: Stored, Ours: true, New: stored(0)},
	{Name: Near, Ours: true, New: stored(perServer)},
}

// A Conn is what a *tls.Conn and a *resume.Conn have in common.
type Conn interface {
	net.Conn
	ConnectionState() tls.ConnectionState
}

// A Client dials. Warm is nil where there is no such thing.
type Client struct {
	Dial  func(ctx context.Context, addr string) (Conn, error)
	Warm  func(ctx context.Context, addr string, n int) (int, error)
	Close func() error
}

// plug makes an arm of a session cache.
func plug(cache func() tls.ClientSessionCache) func(*tls.Config, string) (*Client, error) {
	return func(config *tls.Config, _ string) (*Client, error) {
		config = config.Clone()
		config.ClientSessionCache = cache()
		return dialing(config), nil
	}
}

// dialing does what tls.Dialer does, but for a clone of the configuration that
// it would make each time to set the server name.
func dialing(config *tls.Config) *Client {
	dial := func(ctx context.Context, addr string) (Conn, error) {
		raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
	return &Client{Dial: dial, Close: func() error { return nil }}
}

// bound is a resume.Dialer.
func bound(cache *resume.ClientCache, config *tls.Config) *Client {
	d := &resume.Dialer{Scope: cache.Scope("bench"), Config: config}
	return &Client{
		Dial: func(ctx context.Context, addr string) (Conn, error) {
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err // not a nil *Conn in an interface
			}
			return conn, nil
		},
		Warm: func(ctx context.Context, addr string, n int) (int, error) {
			return d.Warm(ctx, "tcp", addr, n)
		},
		Close: cache.Close,
	}
}

// stored is a resume.Dialer whose sessions are in a directory, but for so many
// of each server.
func stored(near int) func(*tls.Config, string) (*Client, error) {
	return func(config *tls.Config, dir string) (*Client, error) {
		store, err := dirstore.Open(dir, dirstore.Options{})
		if err != nil {
			return nil, err
		}
		var key [32]byte
		rand.Read(key[:])
		keys, err := ticket.NewKeyring(key)
		if err != nil {
			return nil, err
		}
		return bound(&resume.ClientCache{Store: resume.Seal(store, keys), NearTickets: near}, config), nil
	}
}
