package ticket

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"testing"
)

// benchChains are the ends of what servers send.
var benchChains = []struct {
	name string
	key  func() crypto.Signer
	sent int
}{
	{"ecdsa", ecdsaKey, 1},
	{"rsa-chain-of-3", rsaKey, 3},
}

func BenchmarkInspect(b *testing.B) {
	for _, c := range benchChains {
		b.Run(c.name, func(b *testing.B) {
			id := newIdentity(b, c.key(), c.sent)
			s, _ := connect(b,
				&tls.Config{RootCAs: id.roots, ServerName: serverName},
				&tls.Config{Certificates: id.certificates()})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Inspect(s.ticket, s.state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNotAfter shows what it saves not to ask crypto/x509, as Inspect
// otherwise would for every ticket.
func BenchmarkNotAfter(b *testing.B) {
	for _, c := range benchChains {
		leaf := newIdentity(b, c.key(), c.sent).chain[0]
		b.Run(c.name+"/walk", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := notAfter(leaf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/x509", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x509.ParseCertificate(leaf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// recordChains are what servers of the public web send, and a lone leaf as
// clusters use among themselves.
var recordChains = []struct {
	name string
	id   func(testing.TB) identity
}{
	{"lone-leaf", func(b testing.TB) identity { return publicIdentity(b, ecdsaKey(), ecdsaKey(), 1) }},
	{"ecdsa-chain", func(b testing.TB) identity { return publicIdentity(b, ecdsaKey(), rsaKey(), 2) }},
	{"rsa-chain", func(b testing.TB) identity { return publicIdentity(b, rsaKey(), rsaKey(), 2) }},
}

// BenchmarkRecord shows each chain twice: tickets of one server in a row, of
// which only the first has certificates to compress, and of servers in turn.
func BenchmarkRecord(b *testing.B) {
	for _, c := range recordChains {
		var records []*Record
		var marshaled [][]byte
		for range 2 {
			r := recordOf(sessionOf(b, c.id(b), nil))
			records = append(records, r)
			marshaled = append(marshaled, must(r.MarshalBinary()))
		}
		for servers, name := range []string{"one-server", "servers-in-turn"} {
			b.Run(c.name+"/"+name+"/marshal", func(b *testing.B) {
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					if _, err := records[n%(servers+1)].MarshalBinary(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(marshaled[0])), "bytes/record")
			})
			b.Run(c.name+"/"+name+"/unmarshal", func(b *testing.B) {
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					if err := new(Record).UnmarshalBinary(marshaled[n%(servers+1)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkKeyring seals and opens 2 KB, with the first of its keys and the
// last of three.
func BenchmarkKeyring(b *testing.B) {
	plain, one := random(2048), ringOf(b, 1)
	sealed := must(one.Seal("key", "id", expiry, plain))
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := one.Seal("key", "id", expiry, plain); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, k := range map[string]*Keyring{"open": one, "open-with-the-third-key": ringOf(b, 3, 2, 1)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Open("key", "id", expiry, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("indexes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			one.Indexes([]byte("scope\x00server.example"))
		}
	})
}
