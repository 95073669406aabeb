package resume

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// A Scope is a security domain (an SSL_CTX): no session leaves it. What one
// identity and one trust are, only the caller knows; inside a scope the layer
// keeps apart what it can see in a configuration: the client's certificate
// chains, InsecureSkipVerify, the version range, the presence of Encrypted
// Client Hello and of verification and certificate hooks. It cannot tell one
// hook, or one pool of roots, from another.
//
// A Scope is a tls.ClientSessionCache, too. Plugged into a configuration
// directly it sees nothing of it: all configurations it is plugged into share
// their sessions, and share none with TLSConfig, NewConn and Dialer.
//
// All methods are safe for concurrent use. Only a ClientCache makes a Scope: a
// Dialer takes the zero Scope for none, and most methods of that panic.
type Scope struct {
	domain *domain
	view   *view // what is known of the configuration
	single bool  // made by TLSConfig: the accessors see this view only
}

// Get is ClientCache.Get in this scope.
func (s *Scope) Get(serverKey string) (*tls.ClientSessionState, bool) {
	return s.domain.core.use(s.key(serverKey), s.view)
}

// Put is ClientCache.Put in this scope.
func (s *Scope) Put(serverKey string, cs *tls.ClientSessionState) {
	c, key := s.domain.core, s.key(serverKey)
	if cs == nil {
		c.failed(key)
		return
	}
	now := time.Now()
	c.capture(cs, &origin{
		key:            key,
		birth:          c.epoch.Load(),
		serverName:     nameOf(serverKey),
		clientNotAfter: s.view.clientNotAfter,
	}, now)
}

// Get0Session is ClientCache.Get0Session in this scope: of all its
// configurations, or, for the *Scope inside the result of TLSConfig, of that
// one. A Dialer's sessions are found under name:port.
func (s *Scope) Get0Session(serverKey string) *Session {
	found := s.newest(serverKey)
	if found == nil {
		return nil
	}
	defer found.release()
	return found.borrow()
}

// Get1Session is Get0Session with a reference of its own, which the caller
// must Release.
func (s *Scope) Get1Session(serverKey string) *Session {
	found := s.newest(serverKey)
	if found == nil {
		return nil
	}
	defer found.release()
	return found.countedHandle()
}

// TLSConfig returns a clone of base whose ClientSessionCache is a *Scope that
// knows the configuration, and whose VerifyConnection, after base's own,
// counts handshakes. A cache that base has is replaced in the clone; base is
// not changed, and may be changed afterwards for another call; nil stands for
// the zero configuration.
func (s *Scope) TLSConfig(base *tls.Config) *tls.Config {
	config := new(tls.Config)
	if base != nil {
		config = base.Clone()
	}
	c := s.domain.core
	// Of the clone, and not remembered by the address of base, which its owner
	// may change and give again: for another client's certificate, say (rule
	// N25). Before it gets a hook of ours.
	view := newView(s.domain, config)
	if !c.counts(config) {
		verify := config.VerifyConnection
		config.VerifyConnection = func(cs tls.ConnectionState) error {
			if verify != nil {
				if err := verify(cs); err != nil {
					return err
				}
			}
			c.ledger.handshake(cs.DidResume)
			c.event(Event{Kind: HandshakeDone, Scope: s.domain.name, Server: cs.ServerName, Resumed: cs.DidResume})
			return nil
		}
	}
	config.ClientSessionCache = &Scope{domain: s.domain, view: view, single: true}
	return config
}

// Clear removes every session of the scope, under all its configurations and,
// of a named one, in the store, and keeps those of connections whose handshake
// has begun from coming back, as far as ClientCache.Clear does. Call it when
// the client's identity changes. A store that cannot list what it holds
// (cache.Lister) is cleared whole.
func (s *Scope) Clear(ctx context.Context) error { return s.domain.core.clear(ctx, s.domain) }

// String names the scope.
func (s *Scope) String() string {
	switch {
	case s == nil:
		return "Scope(nil)"
	case s.domain == nil:
		return "Scope(none)"
	case s.domain.name == "":
		return "Scope(unnamed)"
	}
	return fmt.Sprintf("Scope(%q)", s.domain.name)
}

// Format writes String for every verb, so that no verb reaches a session.
func (s *Scope) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue is the same for log/slog.
func (s *Scope) LogValue() slog.Value { return slog.StringValue(s.String()) }

// nameOf is what crypto/tls's key says of it: the key itself, or the host
// where the key is ip:port for want of a name (rule T4).
func nameOf(serverKey string) string {
	if strings.IndexByte(serverKey, ':') < 0 {
		return serverKey // the usual case; an error costs an allocation
	}
	if host, _, err := net.SplitHostPort(serverKey); err == nil {
		return host
	}
	return serverKey
}

// key is what a server's sessions are found under in this scope's
// configuration.
func (s *Scope) key(name string) serverKey {
	return serverKey{space: s.view.space, name: name}
}

// newest is the newest session of a server, with a reference. Of several
// configurations the order of receipt tells, which is counted across the cache:
// two tickets of one second, or clock, are in order all the same.
func (s *Scope) newest(name string) *session {
	if s.single {
		return s.domain.core.newest(s.key(name))
	}
	var best *session
	for _, space := range s.domain.spaces.list() {
		found := s.domain.core.newest(serverKey{space: space, name: name})
		switch {
		case found == nil:
		case best == nil || found.serial > best.serial:
			if best != nil {
				best.release()
			}
			best = found
		default:
			found.release()
		}
	}
	return best
}

// counts reports whether a configuration already counts handshakes for c,
// because TLSConfig made it or what it was cloned from. It goes by the cache,
// whose pointer clones keep (rule T17): functions cannot be compared.
func (c *core) counts(config *tls.Config) bool {
	s, ok := config.ClientSessionCache.(*Scope)
	return ok && s != nil && s.single && s.domain.core == c
}

// A domain is a scope's identity. Sessions point to theirs, so it lives as
// long as a scope or a session needs it. The scope that its users have is a
// part of it, and so keeps the whole of it.
type domain struct {
	core      *core
	name      string
	clearedAt atomic.Uint64 // see core.epoch
	spaces    spaceList
	views     viewMemo
	root      Scope
}

// newDomain makes a domain, and for caches that are plugged in directly a space
// with a print of zero: of their configuration nothing is known.
func newDomain(c *core, name string) *domain {
	d := &domain{core: c, name: name}
	d.root = Scope{domain: d, view: &view{space: unique.Make(space{domain: d})}}
	return d
}

// scope is the domain as its users see it.
func (d *domain) scope() *Scope { return &d.root }

// A spaceList remembers under which configurations a domain was given
// sessions, the last maxSpaces of them. It is read for each session and hardly
// ever changes, so who changes it makes a new one, and nobody locks to read.
type spaceList struct {
	known atomic.Pointer[[]unique.Handle[space]]
	mu    sync.Mutex // guards writers of known
}

// list is not to be changed.
func (l *spaceList) list() []unique.Handle[space] {
	if known := l.known.Load(); known != nil {
		return *known
	}
	return nil
}

// add is called for every session that comes into the pool.
func (l *spaceList) add(p unique.Handle[space]) {
	if slices.Contains(l.list(), p) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := slices.Clone(l.list())
	if slices.Contains(known, p) {
		return
	}
	known = append(known, p)
	known = known[max(0, len(known)-maxSpaces):]
	l.known.Store(&known)
}
