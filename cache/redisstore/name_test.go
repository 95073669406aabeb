package redisstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tagOf is what decides the slot, as the specification of clusters says: what is
// between the first opening brace and the first closing one behind it.
func tagOf(name string) string {
	_, behind, _ := strings.Cut(name, "{")
	tag, _, _ := strings.Cut(behind, "}")
	return tag
}

func FuzzNamesOfAKeyShareASlotAndTellTheKey(f *testing.F) {
	for _, seed := range []string{"", "k", "{", "}", "{}", "}{", "a{b}c", "%", "%7B", "%257D", "\x00\xff", "}:ids", "é", "*"} {
		f.Add("", seed)
		f.Add(seed, "k")
	}
	f.Fuzz(func(t *testing.T, namespace, key string) {
		s := &Store{begin: escape(namespace) + tagBegin}
		names := s.names(key)
		require.NotEmpty(t, tagOf(names[0]))
		require.Equal(t, tagOf(names[0]), tagOf(names[1]))
		got, ok := s.keyOf(names[0])
		require.True(t, ok)
		require.Equal(t, key, got)
		_, ok = s.keyOf(names[1])
		require.False(t, ok)
		other := &Store{begin: escape(namespace+"x") + tagBegin}
		_, ok = other.keyOf(names[0])
		require.False(t, ok)
	})
}

func TestForeignNamesAreNoKeys(t *testing.T) {
	s := &Store{begin: "n" + tagBegin}
	for _, name := range []string{"", "n", "n:{=", "n:{=k", "n:{=k}:records", "n:{=%}:ids", "n:{=a}b}:ids", "m:{=k}:ids", "}:ids"} {
		_, ok := s.keyOf(name)
		require.False(t, ok, name)
	}
}
