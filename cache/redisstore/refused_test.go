package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// inVain waits for replicas for longer than a test may take.
var inVain = redisstore.Options{Survive: true, Replicas: 1, ReplicaTimeout: 2 * patience}

// WAIT is sent behind each script, and where nothing was written nobody is to
// wait for it: no replica is there to end it.
func TestWhatRemovesNothingWaitsForNoReplica(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	refusedAtOnce(t, server.steadfast(t), server.client(t))
}

func TestWhatRemovesNothingWaitsForNoReplicaOfACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{c.nodes[0].addr}, ReadTimeout: 3 * patience, MaxRetries: -1,
	})
	t.Cleanup(func() { client.Close() })
	refusedAtOnce(t, client, c.owner(t, indexOf("k"), 0).client(t))
}

// refusedAtOnce is for a client without replicas and the server that has "k".
func refusedAtOnce(t *testing.T, client redis.UniversalClient, server *redis.Client) {
	s := newStore(t, client, inVain)
	put(t, newStore(t, client, onTheirWord), "k", "a")
	take := func(key string) func() error {
		return func() error { _, err := s.Take(background, key, 1); return err }
	}
	for _, c := range []struct {
		why    string
		forget bool
		call   func() error
		want   string // part of the error
	}{
		{"an unknown script, and then a refusal", true, take("k"), "0 of 1 replicas are connected"},
		{"a refusal", false, take("k"), "0 of 1 replicas are connected"},
		{"a miss of a script that is unknown", true, take("none"), cache.ErrMiss.Error()},
		{"a miss", false, take("none"), cache.ErrMiss.Error()},
		{"an unknown deletion", true, func() error { _, err := s.Delete(background, "k", "a"); return err }, "0 of 1"},
		{"a deletion of nothing", false, func() error {
			was, err := s.Delete(background, "none", "a")
			require.False(t, was)
			return errors.Join(err, cache.ErrMiss)
		}, cache.ErrMiss.Error()},
	} {
		if c.forget {
			require.NoError(t, server.ScriptFlush(background).Err())
		}
		ended := make(chan error, 1)
		go func() { ended <- c.call() }()
		select {
		case err := <-ended:
			require.ErrorContains(t, err, c.want, c.why)
		case <-time.After(patience):
			require.Fail(t, "it waits for a replica", c.why)
		}
	}
	require.EqualValues(t, 1, server.ZCard(background, indexOf("k")).Val())
}

// ends tells when a WAIT has ended, for which its caller may not have waited.
type ends chan error

func (ends) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (ends) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (e ends) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if cmds[len(cmds)-1].Name() == "wait" { // not one that begins a connection
			e <- err
		}
		return err
	}
}

// A Take that has told its caller of a miss must not be sent again when the
// connection breaks under its WAIT: what it would remove nobody would have.
func TestMissIsNotAskedAgainBehindItsCaller(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	network := startProxy(t, p.primary.addr)
	client := redis.NewClient(&redis.Options{Addr: network.addr, ReadTimeout: 3 * patience})
	defer client.Close()
	ended := make(ends, 9)
	client.AddHook(ended)
	s, direct := newStore(t, client, withReplicas), newStore(t, p.primary.client(t), onTheirWord)
	_, err := s.Take(background, "k", 1) // the server knows the script
	require.ErrorIs(t, err, cache.ErrMiss)
	<-ended
	<-ended

	p.link.hold()
	put(t, direct, "other", "x") // what the replica does not hear of
	_, err = newStore(t, client, inVain).Take(background, "k", 1)
	require.ErrorIs(t, err, cache.ErrMiss)
	put(t, direct, "k", "a")
	network.cut()
	network.mend()
	require.Error(t, <-ended)
	require.Equal(t, []string{"a"}, drain(t, direct, "k"))
}

// A server that has no room for one more connection says so and does nothing.
func TestPutThatFindsTheServerCrowdedHasStoredNothing(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for b := make([]byte, 64<<10); ; {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					for range bytes.Count(b[:n], []byte("*")) { // commands
						io.WriteString(conn, "-ERR max number of clients reached\r\n")
					}
				}
			}()
		}
	}()
	crowded := redis.NewClient(&redis.Options{Addr: l.Addr().String(), MaxRetries: -1})
	defer crowded.Close()
	err = newStore(t, crowded, byDefault).Put(background, "k", entry("a"))
	require.ErrorContains(t, err, "max number of clients")
	require.ErrorIs(t, err, cache.ErrNotStored)
}
