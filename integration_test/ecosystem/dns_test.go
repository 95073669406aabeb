package ecosystem_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// A dnsServer answers every question over TLS (RFC 7858) with one record.
type dnsServer struct {
	*site
	addr string
	stop func()
}

func newDNSServer() *dnsServer {
	s := &dnsServer{site: newSite("dot")}
	listener := tlstest.Must(net.Listen("tcp", "127.0.0.1:0"))
	s.addr = listener.Addr().String()
	listening := make(chan struct{})
	server := &dns.Server{
		Listener:          tls.NewListener(listener, s.server),
		NotifyStartedFunc: func() { close(listening) }, // before that, Shutdown does nothing
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
			answer := new(dns.Msg).SetReply(question)
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: question.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.IPv4(127, 0, 0, 1),
			}}
			w.WriteMsg(answer)
		}),
	}
	var running sync.WaitGroup
	running.Go(func() { server.ActivateAndServe() })
	<-listening
	s.stop = func() {
		server.Shutdown()
		running.Wait()
	}
	return s
}

// exampleDNS is a server for an Example, which has no test to end it.
func exampleDNS() (addr string, client *tls.Config, stop func()) {
	s := newDNSServer()
	return s.addr, s.client, s.stop
}

func question() *dns.Msg { return new(dns.Msg).SetQuestion("server.test.", dns.TypeA) }

// A lookup is one connection: there is nothing else that could pay for its
// handshake.
func TestDNSOverTLSResumesEveryLookup(t *testing.T) {
	const lookups = 10
	leakCheck(t)
	server := newDNSServer()
	t.Cleanup(server.stop)
	cache := newCache(t)
	client := newDoTClient(cache, server.client)
	client.Timeout = patience
	for range lookups {
		answer, _, err := client.ExchangeContext(bounded(t), question(), server.addr)
		require.NoError(t, err)
		require.Len(t, answer.Answer, 1)
	}
	counts := requireNoReuse(t, server.seen)
	assert.Equal(t, lookups, counts.Connections)
	assert.Equal(t, lookups-1, counts.Offered)
	assert.EqualValues(t, lookups-1, cache.Stats().Resumed)
}

func TestParallelLookupsUseEveryTicketOnce(t *testing.T) {
	const crowd, rounds = 16, 4
	dialers := map[string]func(*resume.ClientCache, *dnsServer) func() error{
		"TLSConfig": func(c *resume.ClientCache, s *dnsServer) func() error {
			client := newDoTClient(c, s.client)
			client.Timeout = patience
			return func() error {
				_, _, err := client.Exchange(question(), s.addr)
				return err
			}
		},
		"Dialer": func(c *resume.ClientCache, s *dnsServer) func() error {
			dialer := &resume.Dialer{Scope: c.NewScope(), Config: s.client}
			return func() error {
				_, err := exchangeBound(dialer, s.addr, question(), question())
				return err
			}
		},
	}
	for name, lookup := range dialers {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			server := newDNSServer()
			t.Cleanup(server.stop)
			cache := newCache(t)
			look := lookup(cache, server)
			for range rounds {
				together(t, crowd, look)
			}
			counts := requireNoReuse(t, server.seen)
			assert.Equal(t, crowd*rounds, counts.Connections)
			assert.GreaterOrEqual(t, counts.Offered, crowd*(rounds-1))
			assert.EqualValues(t, counts.Offered, cache.Stats().Resumed)
		})
	}
}
