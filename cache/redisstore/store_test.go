package redisstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/cachetest"
	"github.com/tlsresume/tlsresume/cache/redisstore"
)

var namespaces atomic.Int64

// unused is a namespace that no other test has.
func unused() string { return fmt.Sprintf("test%d", namespaces.Add(1)) }

func newStore(t testing.TB, client redis.UniversalClient, opts redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(client, opts)
	require.NoError(t, err)
	return s
}

// contract runs cachetest with stores of a client.
func contract(t *testing.T, client redis.UniversalClient, opts redisstore.Options) {
	names := make(map[cache.Store]string)
	open := func(t *testing.T, namespace string) cache.Store {
		opts := opts
		opts.Namespace = namespace
		s := newStore(t, client, opts)
		names[s] = namespace
		return s
	}
	cachetest.Run(t, cachetest.Options{
		New:       func(t *testing.T) cache.Store { return open(t, unused()) },
		Reopen:    func(t *testing.T, s cache.Store) cache.Store { return open(t, names[s]) },
		MaxPerKey: opts.MaxPerKey,
	})
}

func TestStoreKeepsItsContractOnOneServer(t *testing.T) {
	contract(t, startServer(t).client(t), redisstore.Options{MaxPerKey: 40})
}

func TestStoreKeepsItsContractOnACluster(t *testing.T) {
	contract(t, startCluster(t).client(t), redisstore.Options{MaxPerKey: 40})
}

func TestStoreKeepsItsContractOverReplicas(t *testing.T) {
	primary := startServer(t)
	primary.startReplica(t)
	contract(t, primary.client(t), redisstore.Options{MaxPerKey: 40, Survive: true, Replicas: 1, ReplicaTimeout: patience / 10})
}
