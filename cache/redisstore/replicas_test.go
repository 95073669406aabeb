package redisstore_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/redisstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// steadfast is a client that waits for as long as these tests do.
func (s *server) steadfast(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.addr, ReadTimeout: patience, MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	return client
}

// An answer is what a call returned.
type answer struct {
	says []string
	err  error
}

// A call that waits for a replica returns when that has heard, and not before.
// What it says is then true of the replica, which may be promoted at once.
func TestCallsReturnWhenTheirReplicaHasHeard(t *testing.T) {
	t.Parallel()
	opts := redisstore.Options{Survive: true, Replicas: 1, ReplicaTimeout: patience / 2}
	for name, c := range map[string]struct {
		call func(*redisstore.Store) ([]string, error)
		says []string
		left []string
	}{
		"Take": {func(s *redisstore.Store) (ids []string, err error) {
			entries, err := s.Take(background, "k", 2)
			for _, e := range entries {
				ids = append(ids, e.ID)
			}
			return ids, err
		}, []string{"c", "b"}, []string{"a"}},
		"Delete": {func(s *redisstore.Store) ([]string, error) {
			was, err := s.Delete(background, "k", "b")
			return []string{fmt.Sprint(was)}, err
		}, []string{"true"}, []string{"c", "a"}},
		"Clear": {func(s *redisstore.Store) ([]string, error) {
			return nil, s.Clear(background)
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPair(t)
			s := newStore(t, p.primary.steadfast(t), opts)
			put(t, s, "k", "a", "b", "c")
			p.sync(t)

			p.link.hold()
			ended := make(chan answer, 1)
			go func() {
				says, err := c.call(s)
				ended <- answer{says, err}
			}()
			primary, replica := p.primary.client(t), p.replica.client(t)
			await(t, "the removal", func() bool {
				return primary.ZCard(background, indexOf("k")).Val() == int64(len(c.left))
			})
			require.EqualValues(t, 3, replica.ZCard(background, indexOf("k")).Val())
			select {
			case a := <-ended:
				require.Fail(t, "it has not waited", "%v", a)
			default:
			}

			p.link.release()
			require.Equal(t, answer{c.says, nil}, <-ended)
			p.link.hold()
			p.primary.kill()
			p.replica.promote(t)
			promoted := newStore(t, replica, onTheirWord) // no replica is left
			require.Equal(t, c.left, drain(t, promoted, "k"))
		})
	}
}

// A trio is a primary, two replicas, and the network between them.
func startTrio(t testing.TB) (primary *server, replicas [2]*server, links [2]*proxy) {
	t.Helper()
	primary = startServer(t)
	for i := range replicas {
		links[i] = startProxy(t, primary.addr)
		host, port, err := net.SplitHostPort(links[i].addr)
		require.NoError(t, err)
		replicas[i] = startServer(t, "--replicaof", host+" "+port)
		replicas[i].awaitSync(t)
	}
	return primary, replicas, links
}

// Of two replicas one hears nothing. One is then enough for who asks for one,
// and not for who asks for two; three there are not.
func TestAsManyReplicasMustHearAsWereAskedFor(t *testing.T) {
	t.Parallel()
	primary, replicas, links := startTrio(t)
	client := primary.client(t)
	of := func(n int) *redisstore.Store {
		return newStore(t, client, redisstore.Options{Survive: true, Replicas: n, ReplicaTimeout: patience / 10})
	}
	hasty := func(n int) *redisstore.Store {
		return newStore(t, client, redisstore.Options{Survive: true, Replicas: n})
	}
	put(t, of(2), "k", "a", "b", "c", "d", "e")
	require.EqualValues(t, 2, client.Wait(background, 2, patience).Val())
	take := func(s *redisstore.Store) (string, error) {
		entries, err := s.Take(background, "k", 1)
		if err != nil {
			return "", err
		}
		return entries[0].ID, nil
	}

	got, err := take(of(2))
	require.NoError(t, err)
	require.Equal(t, "e", got)
	_, err = take(hasty(3))
	require.ErrorContains(t, err, "2 of 3 replicas are connected")

	links[0].hold()
	got, err = take(of(1))
	require.NoError(t, err)
	require.Equal(t, "d", got, "three replicas were too many, and nothing was removed")
	_, err = take(hasty(2))
	require.ErrorContains(t, err, "1 of 2")
	primary.kill()

	// One that was not among those who heard must not take over: that is what
	// the documentation says, and these know only what they were told.
	for i, left := range [][]string{{"d", "c", "b", "a"}, {"b", "a"}} {
		replicas[i].promote(t)
		require.Equal(t, left, drain(t, newStore(t, replicas[i].client(t), onTheirWord), "k"))
	}
}

// With Replicas, what a server accepted before a failover no server accepts
// after it. What it refused, since the replica did not hear of it, may be
// accepted then, and what nobody asked for is.
func TestNoServerAcceptsAgainAfterAFailoverWithReplicas(t *testing.T) {
	t.Parallel()
	const each = 8
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{host}}))
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host}
	p := startPair(t)
	before, old := listenOver(t, p.primary, impatient, cert)
	var tickets []*tls.ClientSessionState
	for range 3 * each {
		_, got := present(t, client, nil, before)
		tickets = append(tickets, got)
	}
	p.sync(t)
	accepted := make([]int64, len(tickets))
	for i, ticket := range tickets[:each] {
		accepted[i], _ = present(t, client, ticket, before)
	}
	heard := old.Stats()
	p.link.hold()
	for i, ticket := range tickets[each : 2*each] {
		resumed, _ := present(t, client, ticket, before)
		require.Zero(t, resumed, "ticket %d, of which nobody has heard", i)
	}
	require.EqualValues(t, each, old.Stats().Missed-heard.Missed)

	p.primary.kill()
	p.replica.promote(t)
	p.replica.startReplica(t)
	after, renewed := listenOver(t, p.replica, impatient, cert)
	for i, ticket := range tickets {
		resumed, _ := present(t, client, ticket, after)
		require.LessOrEqual(t, accepted[i]+resumed, int64(1), "ticket %d was accepted twice", i)
		accepted[i] += resumed
	}
	if heard.StoreErrors+renewed.Stats().StoreErrors == 0 {
		for i, n := range accepted {
			require.EqualValues(t, 1, n, "ticket %d", i)
		}
	}
}
