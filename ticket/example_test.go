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

func ExampleRecord() {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	session := dial(server)
	id, state, err := session.ResumptionState()
	if err != nil {
		fmt.Println(err)
		return
	}

	// What one process writes ...
	written := ticket.Record{
		Ticket: id, State: state,
		Scope: "example", Server: "example.com", ServerName: "example.com",
		Received: time.Now(), Expires: time.Now().Add(time.Hour),
	}
	b, err := written.MarshalBinary()
	if err != nil {
		fmt.Println(err)
		return
	}

	// ... another resumes with.
	var read ticket.Record
	if err := read.UnmarshalBinary(b); err != nil {
		fmt.Println(err)
		return
	}
	session, err = tls.NewResumptionState(read.Ticket, read.State)
	fmt.Println(read.ServerName, session != nil, err)
	// Output: example.com true <nil>
}

func ExampleKeyring() {
	// 32 bytes from crypto/rand, kept where secrets are kept.
	key, newKey := [32]byte{0: 1}, [32]byte{0: 2}
	keyring, err := ticket.NewKeyring(key)
	if err != nil {
		fmt.Println(err)
		return
	}

	// Where a record goes in a store tells nothing of the record.
	label, expires := []byte("scope\x00example.com"), time.Now().Add(time.Hour)
	index, id := keyring.Indexes(label)[0], keyring.ID([]byte("a ticket"))
	sealed, err := keyring.Seal(index, id, expires, []byte("a record"))
	fmt.Println(len(index), len(id), len(sealed), err)

	// A new key seals from now on; the old one still opens.
	if err := keyring.Set(newKey, key); err != nil {
		fmt.Println(err)
	}
	fmt.Println(keyring, keyring.Indexes(label)[1] == index)
	plain, err := keyring.Open(index, id, expires, sealed)
	fmt.Printf("%s %v\n", plain, err)

	// In another place the same value does not open.
	_, err = keyring.Open(index, "another", expires, sealed)
	fmt.Println(err == ticket.ErrOpen)
	// Output:
	// 43 22 69 <nil>
	// Keyring(2 keys) true
	// a record <nil>
	// true
}

// dial makes one request and returns the session that came with it.
func dial(server *httptest.Server) *tls.ClientSessionState {
	sessions := &last{}
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = sessions
	if resp, err := client.Get(server.URL); err == nil {
		resp.Body.Close()
	}
	return sessions.session
}

// last is a session cache that only remembers.
type last struct{ session *tls.ClientSessionState }

func (l *last) Get(string) (*tls.ClientSessionState, bool)    { return nil, false }
func (l *last) Put(_ string, session *tls.ClientSessionState) { l.session = session }
