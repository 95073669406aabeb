package redisstore_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A proxy is the network between a client and a server.
type proxy struct {
	addr     string
	listener net.Listener
	running  sync.WaitGroup
	reads    atomic.Int64

	mu     sync.Mutex // guards the rest
	target string
	conns  map[net.Conn]bool
	cuts   bool          // connections end at once
	held   chan struct{} // nothing passes until it is closed; nil: all passes
	lose   []func()      // one for each reply that is lost, called before its connection ends
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: l.Addr().String(), listener: l, target: target, conns: make(map[net.Conn]bool)}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.release()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		if !p.track(client) || !p.track(server) {
			client.Close()
			server.Close()
			continue
		}
		p.running.Go(func() { p.pass(server, client, false) })
		p.running.Go(func() { p.pass(client, server, true) })
	}
}

func (p *proxy) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cuts {
		p.conns[conn] = true
	}
	return !p.cuts
}

func (p *proxy) pass(to, from net.Conn, replies bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.reads.Add(1)
		if n > 0 && replies {
			if lost := p.nextLost(); lost != nil {
				lost()
				return
			}
		}
		p.wait()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) nextLost() (lost func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lose) > 0 {
		lost, p.lose = p.lose[0], p.lose[1:]
	}
	return lost
}

func (p *proxy) wait() {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
}

// cut ends all connections, and new ones as they come, until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = true
	for conn := range p.conns {
		conn.Close()
	}
	clear(p.conns)
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = false
}

// lead ends all connections and makes new ones to another server.
func (p *proxy) lead(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.cut()
	p.mend()
}

// hold lets nothing pass and no connection end, until release.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = make(chan struct{})
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// loseReply ends a connection instead of passing the next reply on: what was
// asked for has been done. Before it does, it calls then.
func (p *proxy) loseReply(then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = append(p.lose, then)
}

// client is one through the proxy, with one connection that is made already, so
// that the next reply is that to the next command.
func (p *proxy) client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	opts := &redis.Options{Addr: p.addr, PoolSize: 1}
	for _, f := range change {
		f(opts)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.Ping(background).Err())
	return c
}
