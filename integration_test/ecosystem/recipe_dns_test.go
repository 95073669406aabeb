package ecosystem_test

import (
	"crypto/tls"
	"fmt"

	"github.com/miekg/dns"

	"github.com/tlsresume/tlsresume/resume"
)

// newDoTClient asks by DNS over TLS. Each of its exchanges is a connection of
// its own, and its first is the only full handshake of a series.
func newDoTClient(cache *resume.ClientCache, config *tls.Config) *dns.Client {
	return &dns.Client{Net: "tcp-tls", TLSConfig: cache.TLSConfig(config)}
}

// exchangeBound does so over a Dialer's connection, which knows which ticket it
// offered and received. Several exchanges can use one connection.
func exchangeBound(dialer *resume.Dialer, addr string, questions ...*dns.Msg) ([]*dns.Msg, error) {
	raw, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	var client dns.Client
	conn := &dns.Conn{Conn: raw}
	var answers []*dns.Msg
	for _, question := range questions {
		answer, _, err := client.ExchangeWithConn(question, conn)
		if err != nil {
			return answers, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func Example_dnsOverTLS() {
	addr, config, stop := exampleDNS()
	defer stop()

	var cache resume.ClientCache
	client := newDoTClient(&cache, config)
	for range 3 {
		answer, _, err := client.Exchange(question(), addr)
		fmt.Println(len(answer.Answer), err)
	}
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	for range 2 {
		answers, err := exchangeBound(dialer, addr, question(), question())
		fmt.Println(len(answers), err)
	}
	stats := cache.Stats()
	fmt.Println("full", stats.Full, "resumed", stats.Resumed)
	// Output:
	// 1 <nil>
	// 1 <nil>
	// 1 <nil>
	// 2 <nil>
	// 2 <nil>
	// full 2 resumed 3
}
