package ticket

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fmt reaches the fields of what it prints by other ways than its methods:
// the exact form is what shows that it took none of them.
func TestInfoIsPrintedAsOneKnownLine(t *testing.T) {
	whole := Info{
		ID: "0123456789abcdef", ServerName: "server.example", ALPN: "h2",
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_CHACHA20_POLY1305_SHA256,
		Received: time.Unix(1_800_000_000, 0), Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)),
		Certificates: 3, Size: 4711,
	}
	for _, c := range []struct {
		why  string
		info Info
		line string
	}{
		{"all that is known, times in UTC", whole,
			"0123456789abcdef TLS 1.3 TLS_CHACHA20_POLY1305_SHA256 server.example until 2030-01-02T02:04:05Z"},
		{"a TLS 1.2 session without a name", Info{ID: "0123456789abcdef", Version: tls.VersionTLS12},
			"0123456789abcdef TLS 1.2"},
		{"numbers without a name stay numbers", Info{ID: "0123456789abcdef", Version: 0x0399, CipherSuite: 0x1399},
			"0123456789abcdef 0x0399 0x1399"},
		{"an unreadable session", Info{ID: "0123456789abcdef"}, "0123456789abcdef TLS ?"},
	} {
		t.Run(c.why, func(t *testing.T) {
			require.Equal(t, c.line, c.info.String())
			for _, verb := range []string{"%v", "%+v", "%s"} {
				require.Equal(t, c.line, fmt.Sprintf(verb, c.info), verb)
				require.Equal(t, c.line, fmt.Sprintf(verb, &c.info), verb)
			}
			require.Equal(t, "ticket.Info("+c.line+")", fmt.Sprintf("%#v", c.info))
			require.Equal(t, "ticket.Info("+c.line+")", fmt.Sprintf("%#v", &c.info))
		})
	}
}

func TestInfoIsLoggedAsOneKnownGroup(t *testing.T) {
	info := Info{
		ID: "0123456789abcdef", ServerName: "server.example", ALPN: "h2",
		Version: tls.VersionTLS13, Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Size: 4711,
	}
	require.Equal(t, "[id=0123456789abcdef server=server.example version=TLS 1.3 expires=2030-01-02 03:04:05 +0000 UTC]",
		info.LogValue().String())
	require.Equal(t, `level=INFO msg=got session.id=0123456789abcdef session.server=server.example`+
		` session.version="TLS 1.3" session.expires=2030-01-02T03:04:05.000Z`+"\n", logged(info))
}

func TestNothingPrintedRevealsTicketOrSecret(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newSession(t, version)
		info := must(Inspect(s.ticket, s.state))
		info.ServerName = serverName
		type fields Info // by no method of Info, as fmt prints unexported fields
		printed := []string{logged(info), info.LogValue().String()}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
			printed = append(printed, fmt.Sprintf(verb, info), fmt.Sprintf(verb, fields(info)))
		}
		for _, text := range printed {
			require.False(t, reveals(text, s.ticket), "the ticket shows in %s", text)
			require.False(t, reveals(text, field(t, s.state, "secret").Bytes()), "the secret shows in %s", text)
		}
		// The test of the test.
		require.True(t, reveals(fmt.Sprintf("%x", s.ticket[8:16]), s.ticket))
		require.True(t, reveals(string(s.ticket[3:9]), s.ticket))
		require.True(t, reveals(fmt.Sprint(s.ticket[3:12]), s.ticket))
	}
}

// verbs are all that fmt knows and asks methods for, and one that it does not
// know. For %p, of a pointer only (go vet), it asks none.
var verbs = []string{"%v", "%+v", "%s", "%q", "%d", "%x", "%X", "%b", "%o", "%O", "%c", "%t", "%e", "%U", "%10v", "%z"}

func TestRecordIsPrintedAsItsInfoIs(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	r := recordOf(s)
	line := id(s.ticket) + " TLS 1.3 TLS_AES_128_GCM_SHA256 server.example until 2027-01-15T10:00:00Z"
	group := "[id=" + id(s.ticket) + " server=server.example version=TLS 1.3 expires=2027-01-15 10:00:00.456 +0000 UTC]"
	require.Equal(t, line, r.String())
	require.Equal(t, line, r.info().String())
	require.Equal(t, group, r.LogValue().String())
	require.Equal(t, "level=INFO msg=got session.id="+id(s.ticket)+` session.server=server.example`+
		` session.version="TLS 1.3" session.expires=2027-01-15T10:00:00.456Z`+"\n", logged(r))
	require.Equal(t, logged(r), logged(*r))
	for _, verb := range verbs {
		require.Equal(t, line, fmt.Sprintf(verb, r), verb)
		require.Equal(t, line, fmt.Sprintf(verb, *r), verb)
	}
	require.Equal(t, "ticket.Record("+line+")", fmt.Sprintf("%#v", r))
	require.Equal(t, "ticket.Record("+line+")", fmt.Sprintf("%#v", *r))
	require.Equal(t, "{"+line+"}", fmt.Sprintf("%+d", struct{ R Record }{*r}), "within others")
}

func TestRecordWithoutAStateIsPrinted(t *testing.T) {
	require.Equal(t, "e3b0c44298fc1c14 TLS ?", Record{}.String(), "the ID of no ticket")
	require.Equal(t, id([]byte("ticket"))+" TLS ?", fmt.Sprint(&Record{Ticket: []byte("ticket")}))
	require.Equal(t, "<nil>", fmt.Sprint((*Record)(nil)))
}

func TestNothingPrintedOfARecordRevealsTicketOrSecret(t *testing.T) {
	r := recordOf(newSession(t, tls.VersionTLS13))
	secret := field(t, r.State, "secret").Bytes()
	printed := []string{logged(r), logged(struct{ R *Record }{r})}
	for _, verb := range append(verbs, "%#v") {
		printed = append(printed, fmt.Sprintf(verb, r), fmt.Sprintf(verb, *r), fmt.Sprintf(verb, []Record{*r}))
	}
	for _, text := range printed {
		require.False(t, reveals(text, r.Ticket), "the ticket shows in %s", text)
		require.False(t, reveals(text, secret), "the secret shows in %s", text)
	}
	// By no method of Record, as encoding/json prints all, and fmt unexported
	// fields: with a verb that pointers have, the secret does not show.
	type fields Record
	bare := []string{string(must(json.Marshal(r)))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%X"} {
		bare = append(bare, fmt.Sprintf(verb, fields(*r)), fmt.Sprintf(verb, struct{ r Record }{*r}))
	}
	for _, verb := range append(verbs, "%#v") {
		bare = append(bare, fmt.Sprintf(verb, struct{ r *Record }{r}))
	}
	for _, text := range bare {
		require.False(t, reveals(text, secret), "the secret shows in %s", text)
	}
	for _, err := range []error{
		new(Record).UnmarshalBinary(append([]byte{1, 0, 6}, r.Ticket...)),
		new(Record).UnmarshalBinary(secret),
	} {
		require.False(t, reveals(err.Error(), r.Ticket) || reveals(err.Error(), secret), "%v", err)
	}
}

func TestKeyringIsPrintedAsTheNumberOfItsKeys(t *testing.T) {
	for want, k := range map[string]*Keyring{
		"Keyring(0 keys)": new(Keyring), "Keyring(1 key)": ringOf(t, 1), "Keyring(2 keys)": ringOf(t, 1, 2),
	} {
		require.Equal(t, want, k.String())
		require.Equal(t, want, k.LogValue().String())
		require.Equal(t, `level=INFO msg=got session="`+want+`"`+"\n", logged(k))
		for _, verb := range verbs {
			require.Equal(t, want, fmt.Sprintf(verb, k), verb)
		}
		require.Equal(t, "ticket."+want, fmt.Sprintf("%#v", k))
	}
}

func TestNothingPrintedOfAKeyringRevealsAKey(t *testing.T) {
	key := testKey(1)
	k := ringOf(t, 1)
	d := k.ring()[0]
	printed := []string{string(must(json.Marshal(struct{ K any }{k})))}
	for _, verb := range append(verbs, "%#v") {
		printed = append(printed, fmt.Sprintf(verb, k), fmt.Sprintf(verb, struct{ k *Keyring }{k}),
			fmt.Sprintf(verb, reflect.ValueOf(k).Elem())) // as a copy would be
	}
	for _, text := range printed {
		for _, secret := range [][]byte{key[:], d.index, d.id, d.seal} {
			require.False(t, reveals(text, secret), "%s", text)
		}
	}
	_, err := NewKeyring(key, key)
	require.False(t, reveals(err.Error(), key[:]))
}

// logged is what a text handler writes, less the time.
func logged(v any) string {
	var out bytes.Buffer
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: noTime})).Info("got", "session", v)
	return out.String()
}

// reveals reports whether 6 bytes of the secret in a row are in the text, raw,
// in hex or as fmt prints bytes: few enough to find any leak, too many to be
// there by chance.
func reveals(text string, secret []byte) bool {
	lower := strings.ToLower(text)
	for ; len(secret) >= 6; secret = secret[1:] {
		if strings.Contains(text, string(secret[:6])) || strings.Contains(lower, hex.EncodeToString(secret[:6])) ||
			strings.Contains(text, strings.Trim(fmt.Sprint(secret[:6]), "[]")) {
			return true
		}
	}
	return false
}
