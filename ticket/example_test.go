package ticket_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tlsresume/tlsresume/ticket"
)

// inspecting is a session cache that says what is put into it.
type inspecting struct{ tls.ClientSessionCache }

func (c inspecting) Put(key string, session *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, session)
	id, state, err := session.ResumptionState()
	if err != nil || state == nil {
		return // crypto/tls puts nil to say that a session is of no use
	}
	info, err := ticket.Inspect(id, state)
	if err != nil {
		fmt.Println("only in part:", err)
	}
	fmt.Println(tls.VersionName(info.Version), "client:", info.Client)
	fmt.Println("lifetime:", info.Expires.Sub(info.Received))
	fmt.Println("certificates:", info.Certificates)
}

func ExampleInspect() {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	client := server.Client()
	config := client.Transport.(*http.Transport).TLSClientConfig
	config.ClientSessionCache = inspecting{tls.NewLRUClientSessionCache(0)}
	// A clock that stands still keeps the lifetime to the second.
	config.Time = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }

	resp, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	// Output:
	// TLS 1.3 client: true
	// lifetime: 168h0m0s
	// certificates: 1
}

func ExampleInfo() {
	info := ticket.Info{
		ID: "9f86d081884c7d65", ServerName: "example.com",
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256,
		Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	fmt.Println(info)
	fmt.Println(info.LogValue())
	// Output:
	// 9f86d081884c7d65 TLS 1.3 TLS_AES_128_GCM_SHA256 example.com until 2026-01-02T03:04:05Z
	// [id=9f86d081884c7d65 server=example.com version=TLS 1.3 expires=2026-01-02 03:04:05 +0000 UTC]
}
