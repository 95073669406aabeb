package redisstore_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// asProcess makes the test binary a client process. Its value is a task.
const asProcess = "TLSRESUME_REDISSTORE_PROCESS"

// quiet is for a client that logs each connection it does not get.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	process.As(asProcess, (*task).run)
	process.As(asTLSServer, (*post).serve)
	flag.Parse()
	if _, err := program(); err != nil {
		fmt.Println("redis-server is missing: examples are skipped")
		flag.Set("test.skip", "^Example") // they cannot skip themselves
	}
	os.Exit(m.Run())
}
