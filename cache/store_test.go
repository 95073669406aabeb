package cache_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// fmt prints what a pointer within points at as an address, so that a search
// for the secret alone would not notice a leak: the exact form is asserted.
func TestFormattingAnEntryShowsNoValue(t *testing.T) {
	e := cache.Entry{ID: "a\n", Value: []byte("secret"), Expires: noon}
	const want = `cache.Entry("a\n", 6 bytes, expires 2030-01-01T12:00:00Z)`
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, want, fmt.Sprintf(verb, e), verb)
		require.Equal(t, want, fmt.Sprintf(verb, &e), verb)
	}
	require.Equal(t, "["+want+"]", fmt.Sprint([]cache.Entry{e}))
	require.Equal(t, "{"+want+"}", fmt.Sprint(struct{ E cache.Entry }{e}))
	require.Equal(t, want, e.String())
	require.Equal(t, `cache.Entry("", 0 bytes, never expires)`, cache.Entry{}.String())
}

func TestLoggingAnEntryShowsNoValue(t *testing.T) {
	e := cache.Entry{ID: "a", Value: []byte("secret"), Expires: noon}
	var out bytes.Buffer
	noTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewJSONHandler(&out, noTime)).Info("put", "entry", e)
	require.Equal(t, `{"level":"INFO","msg":"put","entry":`+
		`"cache.Entry(\"a\", 6 bytes, expires 2030-01-01T12:00:00Z)"}`+"\n", out.String())
}

func TestEntryExpiresAtItsMillisecond(t *testing.T) {
	for _, c := range []struct {
		expires, now time.Time
		want         bool
		why          string
	}{
		{time.Time{}, noon, false, "zero never expires"},
		{noon, noon, true, "not after now"},
		{noon.Add(time.Millisecond), noon, false, "a millisecond left"},
		{noon.Add(time.Millisecond - 1), noon, true, "rounded down"},
		{noon.Add(-time.Hour), noon, true, "long ago"},
		{time.Unix(0, 0), noon, true, "1970 is a time like any other"},
	} {
		require.Equal(t, c.want, cache.Entry{Expires: c.expires}.Expired(c.now), c.why)
	}
}

func TestMissIsFoundThroughWrapping(t *testing.T) {
	require.ErrorIs(t, fmt.Errorf("store: %w", cache.ErrMiss), cache.ErrMiss)
	require.False(t, errors.Is(errors.New("cache: miss"), cache.ErrMiss))
}

// An entry can be printed and logged; its value does not show.
func ExampleEntry() {
	e := cache.Entry{ID: "4f1d", Value: []byte("sealed session"), Expires: noon}
	fmt.Printf("%v\n", e)
	// Output:
	// cache.Entry("4f1d", 14 bytes, expires 2030-01-01T12:00:00Z)
}
