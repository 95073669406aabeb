package ticket_test

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

func ExampleInfo_String() {
	info := ticket.Info{
		ID: "9f86d081884c7d65", ServerName: "example.com",
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256,
		Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	fmt.Println(info)
	fmt.Printf("%#v\n", info)
	fmt.Println(info.LogValue())
	// Output:
	// 9f86d081884c7d65 TLS 1.3 TLS_AES_128_GCM_SHA256 example.com until 2026-01-02T03:04:05Z
	// ticket.Info(9f86d081884c7d65 TLS 1.3 TLS_AES_128_GCM_SHA256 example.com until 2026-01-02T03:04:05Z)
	// [id=9f86d081884c7d65 server=example.com version=TLS 1.3 expires=2026-01-02 03:04:05 +0000 UTC]
}
