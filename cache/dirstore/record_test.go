package dirstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

var (
	sampleName = newFileName(1, 2, idNameOf("id"), 3)
	sampleTime = time.UnixMilli(1893499200123)
	sample     = cache.Entry{ID: "id", Value: []byte("sealed"), Expires: sampleTime}
)

func TestRecordComesBack(t *testing.T) {
	for _, e := range []cache.Entry{sample, {}, {ID: "\x00\xff"}, {Value: make([]byte, 100000)}} {
		for _, key := range []string{"", "key", "\xff\x00"} {
			gotKey, got, err := decode("dir", sampleName, encode("dir", sampleName, key, e))
			require.NoError(t, err)
			require.Equal(t, key, gotKey)
			require.Equal(t, e.ID, got.ID)
			require.True(t, bytes.Equal(e.Value, got.Value))
			require.True(t, e.Expires.Equal(got.Expires))
		}
	}
}

// The format is a promise to other versions of this package.
func TestRecordHasItsDocumentedForm(t *testing.T) {
	b := encode("dir", sampleName, "key", sample)
	require.Equal(t, "tdr1", string(b[:4]))
	require.Equal(t, "\x00\x00\x01\xb8\xdd\x58\xe2\x7b\x00\x00\x00\x03\x00\x00\x00\x02keyidsealed", string(b[8:]))
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	b := encode("dir", sampleName, "key", sample)
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		_, _, err := decode("dir", sampleName, b)
		require.ErrorIs(t, err, errDamaged, "bit %d", i)
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		_, _, err := decode("dir", sampleName, b[:n])
		require.ErrorIs(t, err, errDamaged, "%d bytes", n)
	}
	_, _, err := decode("dir", sampleName, append(b, 0))
	require.ErrorIs(t, err, errDamaged, "one byte more")
}

func TestRecordIsBoundToItsPlace(t *testing.T) {
	b := encode("dir", sampleName, "key", sample)
	_, _, err := decode("dis", sampleName, b)
	require.ErrorIs(t, err, errDamaged, "another directory")
	_, _, err = decode("dir", newFileName(1, 2, idNameOf("id"), 4), b)
	require.ErrorIs(t, err, errDamaged, "another name")
}

// FuzzDecode holds that no file makes decode panic or return what is not in
// it. The checksum is set right, or nothing would get past it.
func FuzzDecode(f *testing.F) {
	f.Add(encode("dir", sampleName, "key", sample))
	f.Add(encode("dir", sampleName, "", cache.Entry{}))
	f.Add([]byte(magic))
	f.Add([]byte{})
	long := encode("dir", sampleName, "key", sample)
	copy(long[bodyAt+8:], "\xff\xff\xff\xff\xff\xff\xff\xff")
	f.Add(long)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerLen {
			copy(b[sumAt:], "\x00\x00\x00\x00")
			sum := checksum("dir", sampleName, b)
			b[sumAt], b[sumAt+1], b[sumAt+2], b[sumAt+3] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		key, e, err := decode("dir", sampleName, b)
		if err != nil {
			require.ErrorIs(t, err, errDamaged)
			require.Empty(t, key)
			require.Empty(t, e)
			return
		}
		require.True(t, bytes.HasSuffix(b, []byte(key+e.ID+string(e.Value))))
		require.Equal(t, len(b), headerLen+len(key)+len(e.ID)+len(e.Value))
		require.Equal(t, b, encode("dir", sampleName, key, e))
	})
}
