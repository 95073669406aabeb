package redisstore_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
)

// asProcess makes the test binary a client process. Its value is a task.
const asProcess = "TLSRESUME_REDISSTORE_PROCESS"

// quiet is for a client that logs each connection it does not get.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if text := os.Getenv(asProcess); text != "" {
		var work task
		if err := json.Unmarshal([]byte(text), &work); err != nil {
			panic(err)
		}
		if err := work.run(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if _, err := program(); err != nil {
		fmt.Println("redis-server is missing: examples are skipped")
		flag.Set("test.skip", "^Example") // they cannot skip themselves
	}
	os.Exit(m.Run())
}
