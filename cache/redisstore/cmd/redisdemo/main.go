// Command redisdemo dials a TLS server with sessions that Redis keeps, and says
// what resumed: what one run captures, the next one resumes with, on this
// machine or on another that has the key file.
//
//	redisdemo -redis 127.0.0.1:6379 host:port
//	redisdemo -redis sentinel1:26379,sentinel2:26379 -master tickets host:port
//	redisdemo -redis node1:6379,node2:6379,node3:6379 host:port
//	redisdemo -redis rediss://user:password@redis.example.com host:port
//
// Its other flags are those of resumedemo dial.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/demo"
	"github.com/tlsresume/tlsresume/resume"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o := new(options)
	defer o.close()
	return demo.Exit("redisdemo", demo.Dial("redisdemo", args, o))
}

// options say which Redis, and what the sessions there belong to.
type options struct {
	addr, master string
	keyFile      string
	scope        string
	store        redisstore.Options

	client redis.UniversalClient
}

// Register adds the flags.
func (o *options) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.addr, "redis", "", "`address` of Redis, or addresses of a cluster or of sentinels, or a URL")
	flags.StringVar(&o.master, "master", "", "`name` that the sentinels know the primary by")
	flags.StringVar(&o.keyFile, "keyfile", "", "`file` of the key sessions are sealed with, made on first use (default redisdemo/key in the user's cache directory)")
	flags.StringVar(&o.scope, "scope", "redisdemo", "`name` of the identity and trust that sessions belong to")
	flags.StringVar(&o.store.Namespace, "namespace", "", "what the names in Redis begin with (default tlsresume)")
	flags.BoolVar(&o.store.Survive, "survive", false, "sessions outlive a restart and a failover of Redis; read what that takes first")
	flags.IntVar(&o.store.Replicas, "replicas", 0, "with -survive: replicas that must know that a session is taken")
}

// Use has the cache keep its sessions in Redis.
func (o *options) Use(cache *resume.ClientCache) (*resume.Scope, error) {
	if o.scope == "" || o.addr == "" {
		return nil, fmt.Errorf("%w: -redis and -scope must not be empty", demo.ErrUsage)
	}
	keys, err := demo.Keys("redisdemo", o.keyFile)
	if err != nil {
		return nil, err
	}
	if o.client, err = o.connect(); err != nil {
		return nil, err
	}
	store, err := redisstore.New(o.client, o.store)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", demo.ErrUsage, err)
	}
	cache.Store = resume.Seal(store, keys)
	return cache.Scope(o.scope), nil
}

// patience bounds what one command to Redis takes, so that a server that is
// down does not stop the program.
const patience = time.Second

// connect makes the connection that the first handshake would otherwise have no
// time to wait for. That Redis is down is no error: sessions then stay here.
func (o *options) connect() (redis.UniversalClient, error) {
	opts := &redis.UniversalOptions{Addrs: strings.Split(o.addr, ","), MasterName: o.master}
	if strings.Contains(o.addr, "://") {
		parsed, err := redis.ParseURL(o.addr)
		if err != nil {
			return nil, fmt.Errorf("%w: -redis: %w", demo.ErrUsage, withoutURL(err, o.addr))
		}
		opts.Addrs, opts.DB, opts.TLSConfig = []string{parsed.Addr}, parsed.DB, parsed.TLSConfig
		opts.Username, opts.Password = parsed.Username, parsed.Password
	}
	opts.DialTimeout, opts.ReadTimeout, opts.DialerRetries = patience, patience, 1
	redis.SetLogger(quiet{})
	client := redis.NewUniversalClient(opts)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		fmt.Fprintf(os.Stderr, "redisdemo: store: %v\n", err)
	}
	return client, nil
}

// withoutURL keeps a password out of an error.
func withoutURL(err error, url string) error {
	return errors.New(strings.ReplaceAll(err.Error(), url, "the URL"))
}

// quiet is for a client that logs what it also returns.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func (o *options) close() {
	if o.client != nil {
		o.client.Close()
	}
}
