package ecosystem_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/resume"
)

// redisOptions are for every client of one identity and trust: those that share
// the TLSConfig share the sessions.
func redisOptions(cache *resume.ClientCache, addr string, config *tls.Config) *redis.Options {
	return &redis.Options{Addr: addr, TLSConfig: cache.TLSConfig(config)}
}

// redisBoundOptions do so with a Dialer, which knows which ticket each
// connection offered and received.
func redisBoundOptions(dialer *resume.Dialer, addr string) *redis.Options {
	return &redis.Options{
		Addr: addr,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}
}

func Example_redis() {
	var cache resume.ClientCache
	options := redisOptions(&cache, "redis.example.com:6380", nil) // once; keep it
	client := redis.NewClient(options)
	defer client.Close()
	fmt.Println(client.Ping(context.Background()).Err())
}
