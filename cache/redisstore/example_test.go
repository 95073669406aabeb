package redisstore_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// exampleRedis is a server for an example.
func exampleRedis() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	s, err := launch(dir)
	if err != nil {
		log.Fatal(err)
	}
	return s.addr, func() {
		s.kill()
		os.RemoveAll(dir)
	}
}

// exampleTLS is a server for an example, and a configuration that trusts it.
func exampleTLS() (addr string, config *tls.Config, stop func()) {
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	s := tlstest.Must(tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}}))
	return s.Addr, &tls.Config{RootCAs: ca.Pool()}, s.Close
}

// Two processes, here two caches, share what each of them captures.
func Example() {
	redisAddr, stopRedis := exampleRedis()
	defer stopRedis()
	addr, config, stopTLS := exampleTLS()
	defer stopTLS()
	key := [32]byte{ /* 32 random bytes, the same on all machines */ 1}

	process := func() {
		keys, err := ticket.NewKeyring(key)
		if err != nil {
			log.Fatal(err)
		}
		client := redis.NewClient(&redis.Options{Addr: redisAddr})
		defer client.Close()
		client.Ping(context.Background()) // or the first handshake waits for the connection
		store, err := redisstore.New(client, redisstore.Options{})
		if err != nil {
			log.Fatal(err)
		}
		sessions := &resume.ClientCache{Store: resume.Seal(store, keys)}
		defer sessions.Close() // which stores what came last

		dialer := &resume.Dialer{Scope: sessions.Scope("crawler"), Config: config}
		conn, err := dialer.DialContext(context.Background(), "tcp", addr)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "x")
		io.ReadFull(conn, make([]byte, 1)) // the ticket comes before it
		fmt.Println("resumed:", conn.ConnectionState().DidResume)
	}
	process()
	process()
	process()
	// Output:
	// resumed: false
	// resumed: true
	// resumed: true
}

func ExampleNew() {
	addr, stop := exampleRedis()
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = store.Put(ctx, "key",
		cache.Entry{ID: "1", Value: []byte("sealed"), Expires: time.Now().Add(time.Hour)},
		cache.Entry{ID: "2", Value: []byte("sealed as well"), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		log.Fatal(err)
	}
	for {
		entries, err := store.Take(ctx, "key", 1)
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(entries[0].ID, string(entries[0].Value))
	}
	// Output:
	// 2 sealed as well
	// 1 sealed
	// cache: miss
}

// What a tool shows that must not use up what it shows.
func ExampleStore_List() {
	addr, stop := exampleRedis()
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	store, err := redisstore.New(client, redisstore.Options{Namespace: "tool"})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := store.Put(ctx, "key", cache.Entry{ID: "1", Value: make([]byte, 450)}); err != nil {
		log.Fatal(err)
	}
	for entry, err := range store.List(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Key, entry.ID, entry.Size, entry.Expires.IsZero())
	}
	// Output:
	// key 1 450 true
}
