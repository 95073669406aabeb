package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
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
	t.Parallel()
	contract(t, startCluster(t).client(t), redisstore.Options{MaxPerKey: 40})
}

// rights are those that docs/fleets.md gives to the store's user, here over
// names that begin with test.
func rights(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/fleets.md")
	require.NoError(t, err)
	_, rules, _ := strings.Cut(string(text), "ACL SETUSER tickets on >PASSWORD ~tlsresume:* ")
	rules, rest, _ := strings.Cut(rules, "```")
	_, more, _ := strings.Cut(rest, "`Replicas` also ")
	more, _, _ = strings.Cut(more, ".\n")
	all := regexp.MustCompile(`\+[a-z]+`).FindAllString(rules+more, -1)
	require.Contains(t, all, "+evalsha")
	require.Contains(t, all, "+watch")
	return append([]string{"on", ">secret", "~test*"}, all...)
}

func TestStoreKeepsItsContractWithFewRights(t *testing.T) {
	server := startServer(t)
	require.NoError(t, server.client(t).ACLSetUser(background, "tickets", rights(t)...).Err())
	client := redis.NewClient(&redis.Options{Addr: server.addr, Username: "tickets", Password: "secret"})
	defer client.Close()
	contract(t, client, redisstore.Options{MaxPerKey: 40})
	require.ErrorContains(t, client.FlushAll(background).Err(), "NOPERM")
}

func TestStoreKeepsItsContractOnARing(t *testing.T) {
	t.Parallel()
	client := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": startServer(t).addr, "b": startServer(t).addr}})
	defer client.Close()
	contract(t, client, redisstore.Options{MaxPerKey: 40})
}

// The protocol before RESP3 has other types for some replies.
func TestStoreKeepsItsContractOverRESP2(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: startServer(t).addr, Protocol: 2})
	defer client.Close()
	contract(t, client, redisstore.Options{MaxPerKey: 40})
}

// A cluster's client has to find the node before it can wait for its replicas.
// It does so with few rights.
func TestStoreKeepsItsContractOverReplicasOfACluster(t *testing.T) {
	t.Parallel()
	c := &cluster{nodes: []*server{startNode(t)}}
	require.NoError(t, c.nodes[0].client(t).ClusterAddSlotsRange(background, 0, slots-1).Err())
	c.addReplica(t, c.nodes[0])
	for _, node := range c.nodes {
		require.NoError(t, node.client(t).ACLSetUser(background, "tickets", rights(t)...).Err())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.nodes[0].addr}, Username: "tickets", Password: "secret"})
	defer client.Close()
	contract(t, client, redisstore.Options{MaxPerKey: 40, Survive: true, Replicas: 1, ReplicaTimeout: patience / 10})
}

func TestStoreKeepsItsContractOverReplicas(t *testing.T) {
	t.Parallel()
	primary := startServer(t)
	primary.startReplica(t)
	contract(t, primary.client(t), redisstore.Options{MaxPerKey: 40, Survive: true, Replicas: 1, ReplicaTimeout: patience / 10})
}

func TestNamespacesAreApart(t *testing.T) {
	client, _ := fixture(t)
	require.NoError(t, client.Set(background, "somebody's", "else", 0).Err())
	var stores []*redisstore.Store
	for _, namespace := range []string{"", "a", "a*", "a?", "[ab]", "a{b}", "a:{=x", `\`, "a\x00", "^", "a-z", strings.Repeat("n", 500)} {
		stores = append(stores, newStore(t, client, redisstore.Options{Namespace: namespace}))
	}
	list := func(s *redisstore.Store) (found []string) {
		for l, err := range s.List(background) {
			require.NoError(t, err)
			found = append(found, l.Key+"/"+l.ID)
		}
		return found
	}
	for i, s := range stores {
		put(t, s, "k", fmt.Sprint(i))
		put(t, s, "}", fmt.Sprint(i))
	}
	for i, s := range stores {
		require.ElementsMatch(t, []string{fmt.Sprintf("k/%d", i), fmt.Sprintf("}/%d", i)}, list(s), s)
		require.NoError(t, s.Clear(background))
		require.Empty(t, list(s), s)
		require.Len(t, names(t, client), 1+4*(len(stores)-i-1), s)
	}
	require.Equal(t, "else", client.Get(background, "somebody's").Val())
}

// What puts among clears leaves is whole: it can be taken, once.
func TestClearAmongPutsLeavesWholeEntries(t *testing.T) {
	_, s := fixture(t)
	var putting, clearing sync.WaitGroup
	done := make(chan struct{})
	clearing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				assert.NoError(t, s.Clear(background))
			}
		}
	})
	var had sync.Map
	for n := range 4 {
		putting.Go(func() {
			for i := range 300 {
				assert.NoError(t, s.Put(background, fmt.Sprint("k", i%3), entry(fmt.Sprint(n, "-", i))))
				entries, err := s.Take(background, fmt.Sprint("k", i%3), 1)
				if !errors.Is(err, cache.ErrMiss) {
					assert.NoError(t, err)
				}
				for _, e := range entries {
					_, twice := had.LoadOrStore(e.ID, true)
					assert.False(t, twice, e.ID)
					assert.Equal(t, "value of "+e.ID, string(e.Value))
				}
			}
		})
	}
	putting.Wait()
	close(done)
	clearing.Wait()
	put(t, s, "k", "a")
	require.Equal(t, []string{"a"}, drain(t, s, "k"))
}

func TestFailedPutStoresNothing(t *testing.T) {
	client, _ := fixture(t)
	s := newStore(t, client, redisstore.Options{MaxValue: 10})
	over, cancel := context.WithCancel(background)
	cancel()
	for why, err := range map[string]error{
		"the context is over": s.Put(over, "k", entry("a")),
		"a value is too long": s.Put(background, "k", entry("a"), cache.Entry{ID: "b", Value: make([]byte, 11)}),
		"a name is too long":  s.Put(background, strings.Repeat("k", 1<<20), cache.Entry{ID: "b"}),
	} {
		require.ErrorIs(t, err, cache.ErrNotStored, why)
		require.ErrorContains(t, err, "redisstore: put: ", why)
		require.Empty(t, names(t, client), why)
	}
}

func TestOptionsThatMeanNothingAreRefused(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // which New does not try
	defer client.Close()
	for _, opts := range []redisstore.Options{
		{MaxPerKey: -1}, {MaxValue: -1}, {Replicas: -1}, {Survive: true, ReplicaTimeout: -1}, {Replicas: 1},
	} {
		_, err := redisstore.New(client, opts)
		require.ErrorContains(t, err, "redisstore: ", "%+v", opts)
	}
	_, err := redisstore.New(nil, redisstore.Options{})
	require.Error(t, err)
	require.Equal(t, "redisstore.Store(tlsresume)", newStore(t, client, redisstore.Options{}).String())
}

// Entries that are to survive and entries that are not do not mix: who finds
// the other kind drops it, rather than take it for its own.
func TestStoresOfTwoKindsShareNothing(t *testing.T) {
	client, _ := fixture(t)
	for _, pair := range [][2]redisstore.Options{{byDefault, onTheirWord}, {onTheirWord, byDefault}} {
		one, two := newStore(t, client, pair[0]), newStore(t, client, pair[1])
		put(t, one, "k", "a", "b")
		require.Empty(t, drain(t, two, "k"))
		require.Empty(t, drain(t, one, "k"))
		put(t, one, "k", "a")
		put(t, two, "k", "c")
		require.Equal(t, []string{"c"}, drain(t, two, "k"))
		require.Empty(t, names(t, client))
	}
}
