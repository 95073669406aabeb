package tlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A CA is a throwaway certificate authority.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// A Leaf says what a certificate is for. The zero value is a server's, valid
// for a day, for 127.0.0.1, ::1 and localhost.
type Leaf struct {
	Names     []string // DNS names and addresses
	NotBefore time.Time
	NotAfter  time.Time
	Client    bool
	RSA       bool // 2048 bits instead of P-256
}

// NewCA makes a CA, valid for a year. Two of one name look alike but for their
// keys.
func NewCA(name string) (*CA, error) {
	now := time.Now()
	return NewCAValid(name, now.Add(-time.Hour), now.Add(365*24*time.Hour))
}

// NewCAValid is NewCA for clients whose clock stands elsewhere.
func NewCAValid(name string, notBefore, notAfter time.Time) (*CA, error) {
	key, err := newKey(false)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{Cert: cert, key: key}, err
}

// Issue makes a certificate.
func (ca *CA) Issue(leaf Leaf) (tls.Certificate, error) {
	key, err := newKey(leaf.RSA)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	if len(leaf.Names) == 0 {
		leaf.Names = []string{"127.0.0.1", "::1", "localhost"}
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: leaf.Names[0]},
		NotBefore:    orTime(leaf.NotBefore, time.Now().Add(-time.Hour)),
		NotAfter:     orTime(leaf.NotAfter, time.Now().Add(24*time.Hour)),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if leaf.Client {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, name := range leaf.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	parsed, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}, err
}

// Pool is the CA as a pool of roots.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// PEM is the CA's certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})
}

// WriteFiles puts a certificate and its key into PEM files in a directory.
func WriteFiles(dir string, cert tls.Certificate) (certFile, keyFile string, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", "", err
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, chain, 0o600); err != nil {
		return "", "", err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return certFile, keyFile, os.WriteFile(keyFile, keyPEM, 0o600)
}

// Must returns v, or panics: for tests, where a CA that cannot be made has no
// better answer.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("tlstest: %v", err))
	}
	return v
}

func newKey(useRSA bool) (crypto.Signer, error) {
	if useRSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func orTime(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}
