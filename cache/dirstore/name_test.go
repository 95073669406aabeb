package dirstore

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNamesSortBySequence(t *testing.T) {
	var names []fileName
	for _, seq := range []uint64{0, 1, 9, 10, 31, 32, 1 << 20, 1<<50 - 1, 1 << 50, maxSeq} {
		for _, nonce := range []uint32{math.MaxUint32, 0} {
			n := newFileName(seq, int64(nonce), idNameOf("a"), nonce)
			require.True(t, isFileName(string(n)), n)
			require.Equal(t, seq, n.seq())
			require.Equal(t, idNameOf("a"), n.id())
			names = append(names, n)
		}
	}
	slices.SortStableFunc(names, func(a, b fileName) int { return strings.Compare(string(a[:seqLen]), string(b[:seqLen])) })
	require.True(t, slices.IsSortedFunc(names, func(a, b fileName) int {
		return cmp.Compare(a.seq(), b.seq())
	}))
	require.Equal(t, uint64(maxSeq), newFileName(math.MaxUint64, 0, idNameOf("a"), 0).seq())
}

func TestNameTellsWhetherItsEntryHasExpired(t *testing.T) {
	noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		expires int64
		now     time.Time
		want    bool
		why     string
	}{
		{0, noon, false, "never"},
		{noon.UnixMilli(), noon, true, "now is over"},
		{noon.UnixMilli() + 1, noon, false, "a millisecond left"},
		{noon.UnixMilli() + 1, noon.Add(time.Millisecond - 1), false, "not yet a millisecond later"},
		{1, noon, true, "1970"},
		{1, time.Unix(-1, 0), false, "a clock before 1970"},
		{math.MaxInt64, noon, false, "beyond what a name can say"},
	} {
		n := newFileName(1, c.expires, idNameOf("a"), 0)
		require.Equal(t, c.want, n.expired(momentOf(c.now)), c.why)
	}
}

// Case, separators, length and reserved names are what file systems differ in.
func TestNamesMeanTheSameToEveryFileSystem(t *testing.T) {
	safe := regexp.MustCompile(`^[0-9a-v-]+(\.tmp)?$`)
	for _, s := range []string{"", "a", "A", "..", "/", "\x00", "CON", strings.Repeat("x", 1<<20), "\xff"} {
		file := string(newFileName(1, 2, idNameOf(s), 3))
		for _, name := range []string{keyName(s), file, file + tmpSuffix} {
			require.Regexp(t, safe, name)
			require.Less(t, len(name), 64)
		}
		require.True(t, isKeyName(keyName(s)))
		require.True(t, isTmpName(file+tmpSuffix))
		require.False(t, isFileName(file+tmpSuffix))
	}
}

// The names of 64 entries and the two that every directory has: ext4 rounds 8
// bytes and the name up to 4, and needs 12 for a checksum.
func TestSixtyFourNamesFitIntoABlock(t *testing.T) {
	const entry = (8 + fileNameLen + 3) / 4 * 4
	require.Less(t, 64*entry+24+12, 4096-2*(entry+4), "and two that are being written")
}

func TestHashesAreStable(t *testing.T) {
	require.Equal(t, "5hoe2arq0p3fi8jpugjsfcseecqdhp9o", keyName("key"), "another process must find it")
	require.Equal(t, "klgka9ocsqprtf8t", string(idNameOf("id")))
}

// FuzzNames holds that what is no name of ours is none, and that what is one
// can be read without harm and is the only way to write what it says.
func FuzzNames(f *testing.F) {
	f.Add(string(newFileName(1, 0, idNameOf("a"), 0)))
	f.Add(string(newFileName(maxSeq, math.MaxInt64, idNameOf(""), math.MaxUint32)))
	f.Add(string(newFileName(7, 7, idNameOf("a"), 7)) + tmpSuffix)
	f.Add(keyName("a"))
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		if isKeyName(s) && (isFileName(s) || isTmpName(s)) {
			t.Fatal("two kinds at once")
		}
		if !isFileName(s) {
			return
		}
		n := fileName(s)
		_ = n.expired(momentOf(time.Now()))
		again := newFileName(n.seq(), int64(value(s[expiryAt:idAt-1])), n.id(), uint32(value(s[nonceAt:])))
		require.Equal(t, n, again)
	})
}
