package ticket

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
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
	}
}

// logged is what a text handler writes, less the time.
func logged(info Info) string {
	var out bytes.Buffer
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: noTime})).Info("got", "session", info)
	return out.String()
}

// reveals reports whether 6 bytes of the secret in a row are in the text, raw
// or in hex: few enough to find any leak, too many to be there by chance.
func reveals(text string, secret []byte) bool {
	lower := strings.ToLower(text)
	for ; len(secret) >= 6; secret = secret[1:] {
		if strings.Contains(text, string(secret[:6])) || strings.Contains(lower, hex.EncodeToString(secret[:6])) {
			return true
		}
	}
	return false
}
