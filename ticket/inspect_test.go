package ticket

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInspectSaysWhatCryptoTLSKnows(t *testing.T) {
	modern, old := []uint16(nil), func(suite uint16) []uint16 { return []uint16{suite} }
	cases := []struct {
		why      string
		rsa      bool
		sent     int
		version  uint16
		suites   []uint16
		insecure bool
	}{
		{"the common session", false, 1, tls.VersionTLS13, modern, false},
		{"a chain: the count is of what was sent", false, 2, tls.VersionTLS13, modern, false},
		{"the root sent as well", true, 3, tls.VersionTLS13, modern, false},
		{"no verified chain follows the certificates", false, 2, tls.VersionTLS13, modern, true},
		{"below 1.3 a curve stands where the lifetime would", false, 1, tls.VersionTLS12, modern, false},
		{"1.2 with a chain", true, 2, tls.VersionTLS12, modern, false},
		{"1.2 unverified", true, 1, tls.VersionTLS12, modern, true},
		{"AES-128", false, 1, tls.VersionTLS12, old(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), false},
		{"AES-256, another hash", false, 1, tls.VersionTLS12, old(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), false},
		{"ChaCha20", true, 1, tls.VersionTLS12, old(tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256), false},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			key := ecdsaKey()
			if c.rsa {
				key = rsaKey()
			}
			id := newIdentity(t, key, c.sent)
			client := &tls.Config{ServerName: serverName, MaxVersion: c.version, CipherSuites: c.suites, RootCAs: id.roots}
			if c.insecure {
				client.RootCAs, client.InsecureSkipVerify = nil, true
			}
			s, _ := connect(t, client, &tls.Config{Certificates: id.certificates()})

			info, err := Inspect(s.ticket, s.state)

			require.NoError(t, err)
			sameInfo(t, info, mirror(t, s.ticket, s.state))
			// Were the mirror wrong, these are known without it.
			if info.Version != c.version || info.Certificates != c.sent || !info.Client ||
				info.Expires.IsZero() != (c.version < tls.VersionTLS13) ||
				info.LeafNotAfter.Year() != 2061 {
				t.Errorf("version %x, %d certificates, client %v, until %v, leaf until %v", info.Version,
					info.Certificates, info.Client, info.Expires, info.LeafNotAfter)
			}
		})
	}
}

// What no Go peer negotiates is still in sessions of other peers. The real
// encoding is patched in place and goes through crypto/tls's own parser.
func TestInspectReadsWhatOnlyOtherPeersNegotiate(t *testing.T) {
	u16 := binary.BigEndian.PutUint16
	for _, c := range []struct {
		why     string
		version uint16
		patch   func(encoded []byte)
	}{
		{"AES-256 in 1.3", tls.VersionTLS13, func(b []byte) { u16(b[3:], tls.TLS_AES_256_GCM_SHA384) }},
		{"ChaCha20 in 1.3", tls.VersionTLS13, func(b []byte) { u16(b[3:], tls.TLS_CHACHA20_POLY1305_SHA256) }},
		{"a version that does not exist yet", tls.VersionTLS13, func(b []byte) { u16(b, 0x0399) }},
		{"TLS 1.0 has a curve as well", tls.VersionTLS12, func(b []byte) { u16(b, tls.VersionTLS10) }},
		{"no extended master secret", tls.VersionTLS12, func(b []byte) { b[14+int(b[13])+3] ^= 1 }},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := newSession(t, c.version)
			encoded := must(s.state.Bytes())
			c.patch(encoded)
			state, err := tls.ParseSessionState(encoded)
			require.NoError(t, err)
			before := must(Inspect(s.ticket, s.state))

			info, err := Inspect(s.ticket, state)

			require.NoError(t, err)
			sameInfo(t, info, mirror(t, s.ticket, state))
			if info == before {
				t.Error("the patch changed nothing: the test does not test")
			}
		})
	}
}

func TestInspectReadsEarlyDataAndItsProtocol(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	if info := must(Inspect(s.ticket, s.state)); info.EarlyData || info.ALPN != "" {
		t.Errorf("without early data: %v, ALPN %q; it is encoded with early data only", info.EarlyData, info.ALPN)
	}
	s.state.EarlyData = true // as crypto/tls sets it over QUIC (rule T16)
	info, err := Inspect(s.ticket, s.state)
	require.NoError(t, err)
	sameInfo(t, info, mirror(t, s.ticket, s.state))
	if !info.EarlyData || info.ALPN != "h3" {
		t.Errorf("early data %v, ALPN %q", info.EarlyData, info.ALPN)
	}
}

func TestInspectReadsServerSessions(t *testing.T) {
	for _, c := range []struct {
		why     string
		version uint16
		auth    tls.ClientAuthType
		want    int
	}{
		{"no certificates: the client sent none", tls.VersionTLS13, tls.NoClientCert, 0},
		{"the chain is the client's", tls.VersionTLS13, tls.RequireAnyClientCert, 2},
		{"1.2", tls.VersionTLS12, tls.NoClientCert, 0},
		{"1.2 with the client's chain", tls.VersionTLS12, tls.RequireAnyClientCert, 2},
	} {
		t.Run(c.why, func(t *testing.T) {
			id, clientID := newIdentity(t, ecdsaKey(), 1), newIdentity(t, ecdsaKey(), 2)
			_, s := connect(t,
				&tls.Config{RootCAs: id.roots, ServerName: serverName, MaxVersion: c.version, Certificates: clientID.certificates()},
				&tls.Config{Certificates: id.certificates(), ClientAuth: c.auth})

			info, err := Inspect(s.ticket, s.state)

			require.NoError(t, err)
			sameInfo(t, info, mirror(t, s.ticket, s.state))
			if info.Client || info.Certificates != c.want || !info.Expires.IsZero() {
				t.Errorf("client %v, %d certificates, until %v", info.Client, info.Certificates, info.Expires)
			}
		})
	}
}

func TestInspectLeavesItsArgumentsUntouched(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newSession(t, version)
		s.state.Extra = [][]byte{[]byte("of another layer")}
		ticket, state, encoded := bytes.Clone(s.ticket), *s.state, must(s.state.Bytes())

		_, err := Inspect(s.ticket, s.state)

		require.NoError(t, err)
		if !bytes.Equal(ticket, s.ticket) {
			t.Error("the ticket was changed")
		}
		// Inspect wipes its copy: the secret must not be what was wiped.
		if !reflect.DeepEqual(&state, s.state) || !bytes.Equal(encoded, must(s.state.Bytes())) {
			t.Error("the state was changed")
		}
	}
}

func TestSizeCountsExtraAndNoEntryIsTooLong(t *testing.T) {
	s := newSession(t, tls.VersionTLS13)
	bare := must(Inspect(s.ticket, s.state))
	const tooLong = 1 << 24 // for crypto/tls to encode
	for _, c := range []struct {
		why   string
		extra [][]byte
		adds  int
	}{
		{"each entry costs its length prefix", [][]byte{[]byte("quic"), []byte("ours")}, 3 + 4 + 3 + 4},
		{"an empty one too", [][]byte{{}}, 3},
		{"one that cannot be encoded does not hide the rest", [][]byte{make([]byte, tooLong)}, 3 + tooLong},
		{"nor many that cannot be together", [][]byte{make([]byte, tooLong/2), make([]byte, tooLong/2)}, 6 + tooLong},
	} {
		t.Run(c.why, func(t *testing.T) {
			s.state.Extra = c.extra
			want := bare
			want.Size += c.adds

			info, err := Inspect(s.ticket, s.state)

			require.NoError(t, err)
			sameInfo(t, info, want)
			if encoded, err := s.state.Bytes(); err == nil && info.Size != len(s.ticket)+len(encoded) {
				t.Errorf("size %d, ticket %d and encoding %d", info.Size, len(s.ticket), len(encoded))
			}
		})
	}
}

func TestNilStateIsAnErrorAndNoInfo(t *testing.T) {
	info, err := Inspect([]byte("ticket"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "ticket: ") {
		t.Errorf("error %v, want one that names the package", err)
	}
	sameInfo(t, info, Info{})
}

func TestZeroStateIsAnErrorThatKeepsIDSizeAndEarlyData(t *testing.T) {
	ticket, state := []byte("ticket"), &tls.SessionState{EarlyData: true}
	info, err := Inspect(ticket, state)
	if !errors.Is(err, errEncoding) {
		t.Errorf("error %v, want %v: without a secret it is no session", err, errEncoding)
	}
	sameInfo(t, info, Info{ID: id(ticket), EarlyData: true, Size: len(ticket) + len(must(state.Bytes()))})
}

func TestIDNamesTheTicketAndNothingElse(t *testing.T) {
	one, other := newSession(t, tls.VersionTLS13), newSession(t, tls.VersionTLS12)
	a, b := must(Inspect(one.ticket, one.state)), must(Inspect(one.ticket, other.state))
	if a.ID != b.ID {
		t.Errorf("one ticket, two names: %s, %s", a.ID, b.ID)
	}
	if c := must(Inspect(other.ticket, one.state)); c.ID == a.ID {
		t.Errorf("two tickets, one name: %s", c.ID)
	}
	if len(a.ID) != 16 {
		t.Errorf("ID %q is not 8 bytes in hex", a.ID)
	}
}

func TestEveryPrefixFailsAndKeepsWhatWasRead(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newSession(t, version)
		s.state.EarlyData = version == tls.VersionTLS13 // the longest encoding
		encoded := must(s.state.Bytes())
		flags := 14 + int(encoded[13]) + 3 // behind secret and extra
		var whole Info
		_, err := whole.read(encoded)
		require.NoError(t, err)
		for n := range encoded {
			var want, got Info
			if n >= 2 {
				want.Version = whole.Version
			}
			if n >= 5 {
				want.CipherSuite = whole.CipherSuite
			}
			if n >= flags+2 {
				want.Client, want.Received = whole.Client, whole.Received
				want.ExtendedMasterSecret = whole.ExtendedMasterSecret
			}
			rest, err := got.read(encoded[:n:n])
			if !errors.Is(err, errEncoding) || rest != nil {
				t.Fatalf("%d of %d bytes: error %v, rest %x", n, len(encoded), err, rest)
			}
			got.ALPN = "" // between the flags and the end: read or not
			sameInfo(t, got, want)
		}
	}
}

func TestForeignEncodingsFailSoftly(t *testing.T) {
	leaf := newIdentity(t, ecdsaKey(), 1).chain[0]
	head := Info{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384}
	flags := head
	flags.Client, flags.Received = true, time.Unix(1_800_000_000, 0)
	all := flags
	all.Expires = time.Unix(1_800_007_200, 0)
	counted := func(n int) Info { i := all; i.Certificates = n; return i }
	for _, c := range []struct {
		why    string
		change func(*wire)
		read   Info
	}{
		{"a session has a secret", func(w *wire) { w.secret = nil }, head},
		{"type 0 is none", func(w *wire) { w.typ = 0 }, head},
		{"a new type announces a new encoding", func(w *wire) { w.typ = 3 }, head},
		{"a flag is 0 or 1: master secret", func(w *wire) { w.ems = 2 }, head},
		{"a flag is 0 or 1: early data", func(w *wire) { w.early = 2 }, head},
		{"the lifetime is cut off", func(w *wire) { w.tail = w.tail[:11] }, flags},
		{"a certificate longer than the list", func(w *wire) { w.certificates = []byte{0, 0, 9, 1} }, all},
		{"extensions longer than the list", func(w *wire) { w.certificates = []byte{0, 0, 0, 0, 9} }, all},
		{"the leaf is no certificate", func(w *wire) { w.certificates = []byte{0, 0, 1, 5, 0, 0} }, counted(1)},
		{"a second certificate is cut off", func(w *wire) { w.certificates = append(w.certificates, 0) }, func() Info {
			i := counted(1)
			i.LeafNotAfter = time.Date(2061, 2, 3, 4, 5, 6, 0, time.UTC)
			return i
		}()},
	} {
		t.Run(c.why, func(t *testing.T) {
			w := newWire(leaf)
			c.change(&w)
			var info Info
			_, err := info.read(w.bytes())
			if !errors.Is(err, errEncoding) {
				t.Errorf("error %v, want %v", err, errEncoding)
			}
			sameInfo(t, info, c.read)
		})
	}
}

func TestWhatFollowsTheLastFieldIsLeftUnread(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newSession(t, version)
		appended := []byte("a field of a later Go release")
		var plain, longer Info
		_, err := plain.read(must(s.state.Bytes()))
		require.NoError(t, err)
		rest, err := longer.read(append(must(s.state.Bytes()), appended...))
		require.NoError(t, err)
		sameInfo(t, longer, plain)
		if !bytes.Equal(rest, appended) {
			t.Errorf("rest %q", rest)
		}
	}
}

func TestNotAfterIsAsX509ReadsIt(t *testing.T) {
	for _, c := range []struct {
		why    string
		modify func(*x509.Certificate)
	}{
		{"before 2050: UTCTime", func(c *x509.Certificate) { c.NotAfter = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC) }},
		{"from 2050: GeneralizedTime", func(c *x509.Certificate) { c.NotAfter = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"UTCTime of the last century", func(c *x509.Certificate) { c.NotBefore = time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"no well-defined end (RFC 5280, Section 4.1.2.5)", func(c *x509.Certificate) {
			c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		}},
		{"no subject and no issuer", func(c *x509.Certificate) { c.Subject = pkix.Name{} }},
		// encoding/asn1 refuses elements from 8 MiB, crypto/x509 does not.
		{"too long for encoding/asn1", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 9<<20)}}
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			certificate := template("leaf", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))
			c.modify(certificate)
			der := issue(t, certificate, certificate, ecdsaKey())
			parsed := must(x509.ParseCertificate(der))
			got, err := notAfter(der)
			require.NoError(t, err)
			if !got.Equal(parsed.NotAfter) {
				t.Errorf("got %v, want %v", got, parsed.NotAfter)
			}
			// And so does the session that holds it.
			state, err := tls.ParseSessionState(newWire(der).bytes())
			require.NoError(t, err)
			info, err := Inspect(nil, state)
			require.NoError(t, err)
			sameInfo(t, info, mirror(t, nil, state))
		})
	}
}

// The walk must not make a date of what crypto/x509 refuses.
func TestNotAfterMakesNoDateOfWhatIsNone(t *testing.T) {
	certificate := template("leaf", time.Date(2049, 11, 23, 4, 5, 6, 0, time.UTC))
	der := issue(t, certificate, certificate, ecdsaKey())
	for _, c := range []struct{ why, digits string }{
		{"month 13", "491323040506Z"},
		{"month 0", "490023040506Z"},
		{"31 November", "491131040506Z"},
		{"day 0", "491100040506Z"},
		{"hour 24", "491123240506Z"},
		{"minute 60", "491123046006Z"},
		{"second 60", "491123040560Z"},
		{"not a digit", "4911230405:6Z"},
		{"no zone", "4911230405060"},
	} {
		t.Run(c.why, func(t *testing.T) {
			patched := bytes.Replace(der, []byte("491123040506Z"), []byte(c.digits), 1)
			_, err := x509.ParseCertificate(patched)
			require.Error(t, err, "the test does not test")
			got, err := notAfter(patched)
			require.ErrorIs(t, err, errEncoding, "got %v", got)
		})
	}
}
