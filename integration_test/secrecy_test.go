package integration_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
	"github.com/tlsresume/tlsresume/ticket"
)

// A tap is a cache that notes the secrets of what goes into another: tickets,
// and the secret that resumes with them.
type tap struct {
	tls.ClientSessionCache
	mu      sync.Mutex
	secrets [][]byte
}

func (p *tap) Put(key string, cs *tls.ClientSessionState) {
	label, state, err := cs.ResumptionState()
	p.mu.Lock()
	// crypto/tls gives nobody the secret itself, so it is looked up by its name.
	secret := reflect.ValueOf(state).Elem().FieldByName("secret").Bytes()
	p.secrets = append(p.secrets, bytes.Clone(label), bytes.Clone(secret))
	p.mu.Unlock()
	if err == nil {
		p.ClientSessionCache.Put(key, cs)
	}
}

// spellings are how fmt, slog or a hand could write bytes down; the first eight
// tell one secret from all others.
func spellings(secret []byte) []string {
	secret = secret[:8]
	numbers := strings.Trim(fmt.Sprint(secret), "[]")
	return []string{
		string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
		base64.StdEncoding.EncodeToString(secret[:6]), base64.URLEncoding.EncodeToString(secret[:6]),
		numbers, strings.ReplaceAll(numbers, " ", ", "), fmt.Sprintf("% x", secret),
		strings.Trim(fmt.Sprintf("%q", secret), `"`), strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
	}
}

// printed is all that the verbs of fmt and both handlers of slog make of a
// value, alone, in a struct and in a slice.
func printed(value any) string {
	var out bytes.Buffer
	text := slog.New(slog.NewTextHandler(&out, nil))
	object := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{value, struct{ V any }{value}, []any{value}, map[string]any{"v": value}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text.Info("said", "v", v)
		object.Info("said", "v", v)
	}
	return out.String()
}

// What is looked for here is a real ticket and a real secret, and the exact
// forms are looked at elsewhere: a field that is added to a type, or a type
// that loses its Format, is found out here whatever it prints then.
func TestNothingThatIsPrintedOrLoggedHoldsATicketOrASecret(t *testing.T) {
	s := newSite(t, setup{})
	store := tlstest.Must(dirstore.Open(t.TempDir(), dirstore.Options{}))
	key := [32]byte{1, 35, 69, 103, 137, 171, 205, 239}
	ring := tlstest.Must(ticket.NewKeyring(key))
	sealed := resume.Seal(store, ring)
	c, h := listen(t, &resume.ClientCache{Store: sealed})
	scope := c.Scope("tenant")
	spy := &tap{ClientSessionCache: scope}
	for range 2 {
		_, err := plugged(s.client, spy, scope).visit(s.Addr)
		require.NoError(t, err)
	}
	d := &resume.Dialer{Scope: scope, Config: s.client}
	conn := dialed(scope, s.client).connect(t, s.Addr).(*resume.Conn)
	require.NoError(t, talk(conn))
	session := conn.Get1Session()
	defer session.Release()
	exact := &resume.Dialer{Scope: scope, Config: s.client, Session: session}
	again, err := exact.Dial("tcp", s.Addr)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	_, used := exact.Dial("tcp", s.Addr)
	require.ErrorIs(t, used, resume.ErrNotResumable)
	elsewhere := &resume.Dialer{Scope: c.NewScope(), Config: s.client, Session: session}
	_, foreign := elsewhere.Dial("tcp", s.Addr)
	require.ErrorIs(t, foreign, resume.ErrOtherScope)
	require.NoError(t, c.Close())

	secrets := append(spy.secrets, key[:])
	require.GreaterOrEqual(t, len(secrets), 5, "two tickets, each with its secret, and the key")
	values := []any{
		c, scope, c.NewScope(), d, *d, exact, conn, session, session.Info(), session.ClientSessionCache(),
		sealed, ring, c.Stats(), used, foreign, errors.Join(used, foreign), fmt.Errorf("dial: %w", used),
		new(resume.ServerCache), &resume.ServerCache{Store: sealed}, &resume.ServerCache{Keyring: ring},
	}
	for _, s := range h.got() {
		values = append(values, s, s.Info())
	}
	for _, e := range h.events {
		values = append(values, e, &e)
	}
	for _, value := range values {
		said := printed(value)
		require.NotEmpty(t, said)
		for i, secret := range secrets {
			for _, form := range spellings(secret) {
				require.NotContains(t, said, form, "secret %d in a %T", i, value)
			}
		}
	}
}

// The test above is no good if it cannot see what it looks for.
func TestASecretThatIsPrintedIsFound(t *testing.T) {
	secret := []byte{0x1f, 0xab, 0x03, 0x40, 0x55, 0x66, 0x77, 0x88, 0x99}
	for _, bare := range []any{secret, string(secret), hex.EncodeToString(secret), struct{ secret []byte }{secret}} {
		said, found := printed(bare), false
		for _, form := range spellings(secret) {
			found = found || strings.Contains(said, form)
		}
		require.True(t, found, "%T", bare)
	}
}
