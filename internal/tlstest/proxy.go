package tlstest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// A Proxy passes connections on to a server and counts the tickets it sees go
// by in the clear: pre_shared_key in TLS 1.3, session_ticket before.
type Proxy struct {
	Addr       string
	Identities *Identities

	listener net.Listener
	relay    relay
	hold     func()        // nil, or called when the first bytes of a connection have come
	places   chan struct{} // one for each connection under way to the target
	mu       sync.Mutex    // guards target and conns
	target   string
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

// A relay passes the bytes of a connection on, both ways, until it is over.
// seen is to be shown those of the client.
type relay func(client, server net.Conn, seen io.Writer)

// NewProxy starts a proxy to target; Close ends it. At most parallel
// connections reach the target at a time, the others wait: some servers serve
// one after the other and let few wait.
func NewProxy(target string, parallel int) (*Proxy, error) {
	return NewProxyAt("127.0.0.1:0", target, parallel, new(Identities))
}

// NewProxyAt is NewProxy at an address, for protocols that name ports, with
// Identities that proxies may share.
func NewProxyAt(addr, target string, parallel int, seen *Identities) (*Proxy, error) {
	return started(newProxy(addr, target, parallel, seen, faithfully))
}

// NewHoldingProxy is NewProxy with a function that each connection waits for
// when its ClientHello has come, before any of it is passed on. A Gate's Wait
// lets clients that dial at the same time choose their tickets before the first
// of them gets an answer, which only on loopback could come earlier.
func NewHoldingProxy(target string, parallel int, hold func()) (*Proxy, error) {
	p, err := newProxy("127.0.0.1:0", target, parallel, new(Identities), faithfully)
	if err == nil {
		p.hold = hold
		p.start()
	}
	return p, err
}

func newProxy(addr, target string, parallel int, seen *Identities, relay relay) (*Proxy, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		Addr:       listener.Addr().String(),
		Identities: seen,
		listener:   listener,
		relay:      relay,
		target:     target,
		places:     make(chan struct{}, parallel),
		conns:      make(map[net.Conn]bool),
	}
	return p, nil
}

func (p *Proxy) start() { p.running.Go(p.accept) }

func started(p *Proxy, err error) (*Proxy, error) {
	if err == nil {
		p.start()
	}
	return p, err
}

// Close stops listening, closes all connections and waits for their ends.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	for conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.track(client) {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.close(client)
	from := client
	if p.hold != nil {
		hello := bufio.NewReader(client)
		if _, err := hello.Peek(1); err != nil {
			return
		}
		p.hold()
		from = ahead{client, hello}
	}
	p.places <- struct{}{}
	defer func() { <-p.places }()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil || !p.track(server) {
		return
	}
	defer p.close(server)
	p.relay(from, server, &sniffer{presenter: p.Identities.Connection()})
}

// Retarget leads the connections to come to another server.
func (p *Proxy) Retarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// faithfully is the relay that changes nothing.
func faithfully(client, server net.Conn, seen io.Writer) {
	back := make(chan struct{})
	go func() {
		io.Copy(client, server)
		closeWrite(client)
		close(back)
	}()
	io.Copy(io.MultiWriter(seen, server), client)
	closeWrite(server)
	<-back
}

// An ahead is a connection of which something has been read already.
type ahead struct {
	net.Conn
	from *bufio.Reader
}

func (a ahead) Read(b []byte) (int, error) { return a.from.Read(b) }

func (a ahead) CloseWrite() error {
	closeWrite(a.Conn)
	return nil
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

func (p *Proxy) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *Proxy) close(conn net.Conn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// A sniffer reads the client's bytes up to the first record that is not in the
// clear: one ClientHello, or two with a HelloRetryRequest between.
type sniffer struct {
	presenter *Presenter
	records   []byte
	messages  []byte
	done      bool
}

const sniffLimit = 256 << 10

func (s *sniffer) Write(b []byte) (int, error) {
	if s.done {
		return len(b), nil
	}
	s.records = append(s.records, b...)
	for len(s.records) >= 5 {
		n := 5 + int(binary.BigEndian.Uint16(s.records[3:]))
		if len(s.records) < n {
			break
		}
		switch s.records[0] {
		case 22: // handshake
			s.messages = append(s.messages, s.records[5:n]...)
		case 20: // change_cipher_spec, between two hellos
		default:
			s.done = true
		}
		s.records = s.records[n:]
	}
	for !s.done && len(s.messages) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(s.messages)&0xffffff)
		if s.messages[0] != 1 { // client_hello
			s.done = true
			break
		}
		if len(s.messages) < n {
			break
		}
		for _, ticket := range Tickets(s.messages[4:n]) {
			s.presenter.Present(ticket)
		}
		s.messages = s.messages[n:]
	}
	if len(s.records)+len(s.messages) > sniffLimit {
		s.done = true
	}
	return len(b), nil
}

// Tickets are the tickets in the body of a ClientHello (RFC 8446, Section
// 4.1.2): the identities of pre_shared_key and the content of session_ticket.
func Tickets(hello []byte) (tickets [][]byte) {
	r := field(hello)
	r.skip(2 + 32) // version, random
	r.vector(1)    // session id
	r.vector(2)    // cipher suites
	r.vector(1)    // compression
	for extensions := field(r.vector(2)); len(extensions) >= 4; {
		kind := extensions.number(2)
		body := extensions.vector(2)
		switch kind {
		case 35: // session_ticket
			if len(body) > 0 {
				tickets = append(tickets, body)
			}
		case 41: // pre_shared_key
			for identities := field(body.vector(2)); len(identities) > 0; {
				tickets = append(tickets, identities.vector(2))
				identities.skip(4) // obfuscated age
			}
		}
	}
	return tickets
}

// A field is read front to back; what is not there reads as empty.
type field []byte

func (f *field) skip(n int) []byte {
	n = min(n, len(*f))
	taken := (*f)[:n]
	*f = (*f)[n:]
	return taken
}

func (f *field) number(size int) (n int) {
	for _, b := range f.skip(size) {
		n = n<<8 | int(b)
	}
	return n
}

func (f *field) vector(size int) field { return f.skip(f.number(size)) }
