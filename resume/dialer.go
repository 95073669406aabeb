package resume

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Dialer dials TLS connections that resume sessions of a scope. It is the
// counterpart of tls.Dialer; its fields must not change after first use, and
// its methods are safe for concurrent use.
type Dialer struct {
	// Scope is where sessions are taken from and kept. Required.
	Scope *Scope

	// NetDialer makes the underlying connections. Nil means the zero
	// net.Dialer. Its Timeout and Deadline bound the handshake, too.
	NetDialer *net.Dialer

	// Config is the configuration; it must not change after first use. If it
	// has no ServerName, the host of the address is used. Nil means the zero
	// configuration. A ClientSessionCache in it is not used.
	Config *tls.Config

	// Session, if not nil, is the one session to resume with (after
	// SSL_set_session). A dial fails with ErrNotResumable or ErrOtherScope if
	// it cannot be offered, be it that crypto/tls does not with this Config
	// (SessionTicketsDisabled, roots that do not vouch for the server); if the
	// server refuses the session, the full handshake that follows is no
	// failure. The Dialer borrows the session;
	// whoever holds it must not release it while dials are being made.
	Session *Session
}

// Dial connects and makes the handshake.
func (d *Dialer) Dial(network, addr string) (*Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

// DialContext connects and makes the handshake. Once it has returned a
// connection, ctx has no effect on it.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (*Conn, error) {
	return d.dial(ctx, network, addr, asConn)
}

// DialTLSContext is DialContext for who needs a real *tls.Conn, which it
// returns: http.Transport's field of that name does, for HTTP/2 and for
// Response.TLS, and so does net/smtp, which takes a *Conn for plain text and
// refuses to send a password. For HTTP, Config.NextProtos must name the
// protocols, such as h2 and http/1.1.
//
// Such a connection takes and receives its own sessions as every other of a
// Dialer, and lets go of them when it is closed. What it does after the
// handshake is not seen: an alert or an unclean end forfeits no session, its
// Close does not wait for a ticket, and nobody but Observe, which is told of
// its Conn, can ask for its session. WaitSession of that waits for who reads.
// NetConn returns a wrapper around the connection of NetDialer, with a NetConn
// method of its own that returns it.
func (d *Dialer) DialTLSContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.dial(ctx, network, addr, asTLS)
	if err != nil {
		return nil, err
	}
	return c.tls, nil
}

// A use is what becomes of a connection.
type use int

const (
	asConn use = iota
	asTLS      // the caller gets the tls.Conn
	toWarm     // it offers no session and brings some
)

var errNoScope = errors.New("resume: Dialer has no Scope")

// dial connects as tls.Dialer does: the bounds of the network dialer hold for
// the handshake, too.
//
// A Session that cannot be used fails it before anything is sent, but it is
// claimed when the network has connected: until then another dial may have it,
// and one that never connects has claimed nothing. The store is asked before
// that: its round trip and the network's run side by side, and what comes for a
// dial that fails is in the pool for the next.
func (d *Dialer) dial(ctx context.Context, network, addr string, use use) (*Conn, error) {
	if d.Scope == nil || d.Scope.domain == nil {
		return nil, errNoScope
	}
	serverName, name := serverNames(addr, d.Config)
	domain := d.Scope.domain
	if d.Session != nil {
		if err := belongs(d.Session, domain, domain.view(d.Config), serverName); err != nil {
			return nil, err
		}
	}
	var fetched <-chan singleflight.Result
	if d.Session == nil && use != toWarm {
		view := domain.view(d.Config)
		fetched = domain.core.prefetch(serverKey{space: view.space, name: name}, view)
	}
	dialer := d.NetDialer
	if dialer == nil {
		dialer = new(net.Dialer)
	}
	ctx, cancel := withBounds(ctx, dialer)
	defer cancel()
	began := time.Now()
	raw, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := domain.newConn(raw, d.Config, serverName, name)
	c.wire.connect = distance(raw, time.Since(began))
	c.fetched = fetched
	c.unbound, c.warming = use == asTLS, use == toWarm
	if err := d.handshake(ctx, c); err != nil {
		return nil, err
	}
	return c, nil
}

// handshake makes the handshake, or closes the connection. Nobody else knows c
// yet, so its lease is set without its lock. A lease that crypto/tls never
// asked for, as with SessionTicketsDisabled, is given back by settle, since its
// ticket was not sent; the caller, who wanted that very session, gets an error.
func (d *Dialer) handshake(ctx context.Context, c *Conn) (err error) {
	done := false
	defer func() { // also when a callback panics
		if !done {
			c.wire.Close()
			c.settle(errAborted) // if it did not come to a handshake
			c.end()
		}
	}()
	var named *lease
	if d.Session != nil {
		if named, err = leaseOf(d.Session); err != nil {
			return err
		}
		c.lease = named
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	if named != nil && !named.offered {
		return fmt.Errorf("%w: the configuration does not allow to offer it", ErrNotResumable)
	}
	done = true
	return nil
}

// String names the scope, and never what is in it.
func (d Dialer) String() string { return fmt.Sprintf("Dialer(%v)", d.Scope) }

// Format writes String for every verb, so that no verb reaches a key.
func (d Dialer) Format(f fmt.State, _ rune) { fmt.Fprint(f, d.String()) }

// LogValue is the same for log/slog.
func (d Dialer) LogValue() slog.Value { return slog.StringValue(d.String()) }

// withBounds adds the dialer's own time limits to a context, as tls.Dialer
// does.
func withBounds(ctx context.Context, d *net.Dialer) (context.Context, context.CancelFunc) {
	cancel, stop := context.CancelFunc(func() {}), context.CancelFunc(func() {})
	if d.Timeout != 0 {
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
	}
	if !d.Deadline.IsZero() {
		ctx, stop = context.WithDeadline(ctx, d.Deadline)
	}
	return ctx, func() { stop(); cancel() }
}

// serverNames are the name to authenticate and the key to find sessions under:
// the same name with the port, since what listens on another port of a host is
// another server as often as not. The address is cut as tls.Dialer cuts it, at
// the last colon, so that both authenticate the same name.
func serverNames(addr string, config *tls.Config) (serverName, key string) {
	host, port := addr, ""
	if colon := strings.LastIndex(addr, ":"); colon >= 0 {
		host, port = addr[:colon], addr[colon+1:]
	}
	serverName = host
	if config != nil && config.ServerName != "" {
		serverName = config.ServerName
	}
	if port == "" {
		return serverName, serverName
	}
	return serverName, net.JoinHostPort(strings.Trim(serverName, "[]"), port)
}
