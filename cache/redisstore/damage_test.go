package redisstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/redisstore"
)

// The names of key k in Redis.
const (
	indexOfK   = "tlsresume:{=k}:ids"
	recordsOfK = "tlsresume:{=k}:records"
)

// fixture is a server, a client and a store.
func fixture(t testing.TB, args ...string) (*redis.Client, *redisstore.Store) {
	t.Helper()
	client := startServer(t, args...).client(t)
	return client, newStore(t, client, redisstore.Options{})
}

func names(t testing.TB, client *redis.Client) []string {
	t.Helper()
	names, err := client.Keys(background, "*").Result()
	require.NoError(t, err)
	slices.Sort(names)
	return names
}

// A server short of memory may evict either of the two names.
func TestEitherNameMayVanish(t *testing.T) {
	client, s := fixture(t)
	for _, name := range []string{indexOfK, recordsOfK} {
		for what, call := range map[string]func(){
			"Take": func() { require.Empty(t, drain(t, s, "k")) },
			"Delete": func() {
				was, err := s.Delete(background, "k", "b")
				require.NoError(t, err)
				require.False(t, was)
			},
			"Put": func() {
				put(t, s, "k", "d")
				require.Equal(t, []string{"d"}, drain(t, s, "k"))
			},
			"Clear": func() { require.NoError(t, s.Clear(background)) },
			"List": func() {
				for l, err := range s.List(background) {
					t.Errorf("%v, %v is listed", l, err)
				}
				require.Empty(t, drain(t, s, "k"))
			},
		} {
			put(t, s, "k", "a", "b", "c")
			require.Equal(t, []string{indexOfK, recordsOfK}, names(t, client))
			require.EqualValues(t, 1, client.Del(background, name).Val())
			call()
			require.Empty(t, names(t, client), "%s leaves something when %s has vanished", what, name)
		}
	}
}

// The same by a server that really is short of memory.
func TestEvictionLosesEntriesAndNoMore(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allkeys-random", "volatile-lru", "volatile-ttl"} {
		client, s := fixture(t, "--maxmemory", "4mb", "--maxmemory-policy", policy)
		random := rand.New(rand.NewPCG(7, 7))
		had := make(map[string]int)
		put := 0
		for range 3000 {
			key := fmt.Sprint("k", random.IntN(400))
			if random.IntN(3) > 0 {
				id := fmt.Sprint(put)
				put++
				err := s.Put(background, key, cache.Entry{ID: id, Value: make([]byte, 4000), Expires: time.Now().Add(time.Hour)})
				require.NoError(t, err)
				continue
			}
			entries, err := s.Take(background, key, 2)
			if !errors.Is(err, cache.ErrMiss) {
				require.NoError(t, err)
			}
			for _, e := range entries {
				had[e.ID]++
			}
		}
		stats := client.Info(background, "stats").Val()
		require.NotContains(t, stats, "evicted_keys:0\r", policy)
		require.NotEmpty(t, had)
		for id, n := range had {
			require.Equal(t, 1, n, "%s: entry %s", policy, id)
		}
	}
}

func TestNamesEndWithTheLastOfTheirEntries(t *testing.T) {
	client, s := fixture(t)
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(d).Truncate(time.Millisecond) }
	ends := func(want time.Time) {
		t.Helper()
		for _, name := range []string{indexOfK, recordsOfK} {
			got := client.PExpireTime(background, name).Val()
			if want.IsZero() {
				require.EqualValues(t, -1, got, name)
				continue
			}
			require.Equal(t, want.UnixMilli(), got.Milliseconds(), name)
		}
	}
	for _, step := range []struct {
		id      string
		expires time.Time
		want    time.Time
		why     string
	}{
		{"a", at(time.Hour), at(time.Hour), "the only one"},
		{"b", at(2 * time.Hour), at(2 * time.Hour), "one that lives longer"},
		{"c", at(time.Minute), at(2 * time.Hour), "one that does not"},
		{"d", time.Time{}, time.Time{}, "one that lives for ever"},
		{"e", at(time.Hour), time.Time{}, "and is there"},
	} {
		require.NoError(t, s.Put(background, "k", cache.Entry{ID: step.id, Expires: step.expires}), step.why)
		ends(step.want)
	}
	require.NoError(t, s.Clear(background))
	require.NoError(t, s.Put(background, "k", cache.Entry{ID: "a"}))
	require.NoError(t, s.Put(background, "k", cache.Entry{ID: "a", Expires: at(time.Hour)}))
	ends(at(time.Hour)) // what replaces the only one
}

// Nobody needs to call for it.
func TestExpiredEntriesLeaveTheServer(t *testing.T) {
	client, s := fixture(t)
	require.NoError(t, s.Put(background, "k", cache.Entry{ID: "a", Expires: time.Now().Add(20 * time.Millisecond)}))
	require.Len(t, names(t, client), 2)
	await(t, "the server's own expiry", func() bool { return client.DBSize(background).Val() == 0 })
}

// What has expired among others goes with the next Put, before what is good.
func TestExpiredEntriesMakeRoom(t *testing.T) {
	client, _ := fixture(t)
	s := newStore(t, client, redisstore.Options{MaxPerKey: 3})
	soon := time.Now().Add(20 * time.Millisecond)
	require.NoError(t, s.Put(background, "k", cache.Entry{ID: "x", Expires: soon}, cache.Entry{ID: "y", Expires: soon}, entry("a")))
	await(t, "the server's clock", func() bool { return client.Time(background).Val().After(soon) })
	put(t, s, "k", "b")
	require.EqualValues(t, 2, client.ZCard(background, indexOfK).Val())
	put(t, s, "k", "c")
	require.Equal(t, []string{"c", "b", "a"}, drain(t, s, "k"))
}

func TestNothingIsLeftOfAnEmptyKey(t *testing.T) {
	client, s := fixture(t)
	past := time.Now().Add(-time.Hour)
	for how, empty := range map[string]func(){
		"Take":   func() { drain(t, s, "k") },
		"Delete": func() { s.Delete(background, "k", "a"); s.Delete(background, "k", "b") },
		"Clear":  func() { require.NoError(t, s.Clear(background)) },
		"Put": func() {
			require.NoError(t, s.Put(background, "k", cache.Entry{ID: "b", Expires: past}, cache.Entry{ID: "a", Expires: past}))
		},
	} {
		put(t, s, "k", "a", "b")
		empty()
		require.Empty(t, names(t, client), how)
	}
}

// A name that is taken for something else is left alone.
func TestForeignTypeIsAnErrorAndStays(t *testing.T) {
	client, s := fixture(t)
	for _, name := range []string{indexOfK, recordsOfK} {
		require.NoError(t, client.Set(background, name, "somebody's", 0).Err())
		require.ErrorIs(t, s.Put(background, "k", entry("a")), cache.ErrNotStored)
		_, err := s.Take(background, "k", 1)
		require.ErrorContains(t, err, "WRONGTYPE")
		_, err = s.Delete(background, "k", "a")
		require.ErrorContains(t, err, "WRONGTYPE")
		require.Equal(t, "somebody's", client.Get(background, name).Val())
		require.EqualValues(t, 1, client.Del(background, name).Val())
	}
	put(t, s, "k", "a")
	require.Equal(t, []string{"a"}, drain(t, s, "k"))
}

// What no Put wrote is no entry, and hides none.
func TestForeignRecordIsNotThere(t *testing.T) {
	client, s := fixture(t)
	for _, record := range []string{"", ":", "x:y", "12", "-:", "99999999999999999999999:x", "1e5:x", "\x00"} {
		put(t, s, "k", "a", "b", "c")
		require.NoError(t, client.HSet(background, recordsOfK, "=b", record).Err())
		listed := 0
		for l, err := range s.List(background) {
			if err == nil && l.ID != "b" {
				listed++
			}
		}
		require.LessOrEqual(t, listed, 2)
		got, err := s.Take(background, "k", 9)
		require.NoError(t, err)
		var ids []string
		for _, e := range got {
			if record != ":" { // a good one, empty
				require.Equal(t, "value of "+e.ID, string(e.Value))
			}
			ids = append(ids, e.ID)
		}
		want := []string{"c", "a"}
		if record == ":" {
			want = []string{"c", "b", "a"}
		}
		require.Equal(t, want, ids, "%q", record)
		require.Empty(t, names(t, client))
	}
}

func TestScriptsAreTaughtAgain(t *testing.T) {
	client, s := fixture(t)
	forget := func() { require.NoError(t, client.ScriptFlush(background).Err()) }
	forget()
	put(t, s, "k", "a", "b")
	forget()
	was, err := s.Delete(background, "k", "a")
	require.NoError(t, err)
	require.True(t, was)
	forget()
	for l, err := range s.List(background) {
		require.NoError(t, err)
		require.Equal(t, "b", l.ID)
	}
	forget()
	require.Equal(t, []string{"b"}, drain(t, s, "k"))
}

func TestReadOnlyServerStoresAndHandsOutNothing(t *testing.T) {
	primary := startServer(t)
	s := newStore(t, primary.client(t), redisstore.Options{})
	replica := primary.startReplica(t)
	put(t, s, "k", "a")
	r := newStore(t, replica.client(t), redisstore.Options{})
	require.EqualValues(t, 1, primary.client(t).Wait(background, 1, patience).Val())
	require.ErrorIs(t, r.Put(background, "k", entry("b")), cache.ErrNotStored)
	_, err := r.Take(background, "k", 1)
	require.ErrorContains(t, err, "READONLY")
	_, err = r.Delete(background, "k", "a")
	require.ErrorContains(t, err, "READONLY")
	require.ErrorContains(t, r.Clear(background), "READONLY")
	require.Equal(t, []string{"a"}, drain(t, s, "k"))
}

// A server that must not evict refuses what would make it grow, and a Put is
// done or not done.
func TestFullServerStillHandsOut(t *testing.T) {
	client, s := fixture(t, "--maxmemory-policy", "noeviction")
	put(t, s, "k", "a", "b")
	require.NoError(t, client.ConfigSet(background, "maxmemory", "1").Err())
	err := s.Put(background, "k", entry("c"), entry("d"))
	require.ErrorContains(t, err, "OOM")
	require.ErrorIs(t, err, cache.ErrNotStored)
	got, err := s.Take(background, "k", 1)
	require.NoError(t, err)
	require.Equal(t, "b", got[0].ID)
	was, err := s.Delete(background, "k", "a")
	require.NoError(t, err)
	require.True(t, was)
	require.NoError(t, client.ConfigSet(background, "maxmemory", "0").Err())
	put(t, s, "k", "e")
	require.Equal(t, []string{"e"}, drain(t, s, "k"))
}

func TestServerThatIsLoadingIsAnError(t *testing.T) {
	t.Parallel()
	server := startServer(t, "--appendonly", "no", "--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
	client := server.client(t)
	for i := range 2000 {
		require.NoError(t, client.Set(background, fmt.Sprint(i), strings.Repeat("x", 1000), 0).Err())
	}
	require.NoError(t, client.Save(background).Err())
	server.kill()
	ready := make(chan error, 1)
	go func() { ready <- server.run() }()
	impatient := redis.NewClient(&redis.Options{Addr: server.addr, MaxRetries: -1})
	defer impatient.Close()
	await(t, "a server that is loading", func() bool {
		return redis.HasErrorPrefix(impatient.Ping(background).Err(), "LOADING")
	})
	s := newStore(t, impatient, redisstore.Options{})
	err := s.Put(background, "k", entry("a"))
	require.ErrorContains(t, err, "LOADING")
	require.ErrorIs(t, err, cache.ErrNotStored)
	_, err = s.Take(background, "k", 1)
	require.ErrorContains(t, err, "LOADING")
	require.NoError(t, client.ConfigSet(background, "key-load-delay", "0").Err())
	require.NoError(t, <-ready)
}

func TestUserWithoutRightsGetsAnError(t *testing.T) {
	server := startServer(t)
	admin := server.client(t)
	require.NoError(t, admin.ACLSetUser(background, "weak", "on", ">secret", "~*", "+@all", "-info").Err())
	weak := redis.NewClient(&redis.Options{Addr: server.addr, Username: "weak", Password: "secret"})
	defer weak.Close()
	s := newStore(t, weak, redisstore.Options{})
	require.Error(t, s.Put(background, "k", entry("a")))
	require.Empty(t, names(t, admin))
	wrong := redis.NewClient(&redis.Options{Addr: server.addr, Username: "weak", Password: "wrong"})
	defer wrong.Close()
	require.ErrorIs(t, newStore(t, wrong, redisstore.Options{}).Put(background, "k", entry("a")), cache.ErrNotStored)
}
