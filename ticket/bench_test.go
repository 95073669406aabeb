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
