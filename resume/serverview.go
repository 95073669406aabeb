package resume

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"reflect"
	"runtime"
	"sync"
	"weak"
)

// errWrapped is what a configuration gets that makes tickets by itself.
var errWrapped = errors.New("resume: ServerCache with a tls.Config that already sets WrapSession or UnwrapSession")

// A serverView is a configuration as a ServerCache knows it. It does not change
// once it is made, but for common.
type serverView struct {
	core     *serverCore
	template *tls.Config // of the connections; never used by one itself

	getConfig func(*tls.ClientHelloInfo) (*tls.Config, error) // the user's
	verify    func(tls.ConnectionState) error                 // the user's

	// bind is what every ticket made under this configuration is tied to.
	bind [16]byte

	once   sync.Once // guards the making of common
	common *tls.Config
}

// tlsConfig is ServerCache.TLSConfig.
func (c *serverCore) tlsConfig(base *tls.Config) *tls.Config {
	if base != nil && c.views.ofMade(base) != nil {
		return base
	}
	v := c.view(base)
	config := v.config(nil)
	c.views.noteMade(config, v)
	return config
}

// view is the view of a configuration of the user. One that wraps sessions
// itself panics: this runs when a program is set up.
func (c *serverCore) view(config *tls.Config) *serverView {
	v, err := c.viewOf(config)
	if err != nil {
		panic(err.Error())
	}
	return v
}

// viewOf remembers the views of configurations by their address. What TLSConfig
// made has a view of its own, since the user may have changed it: what it asks
// of clients now must hold.
func (c *serverCore) viewOf(config *tls.Config) (*serverView, error) {
	if config == nil {
		config = &zeroConfig
	}
	if v := c.views.of(config); v != nil {
		return v, nil
	}
	if made := c.views.ofMade(config); made != nil {
		v, err := c.viewOfMade(config, made)
		if err != nil {
			return nil, err
		}
		return c.views.note(config, v), nil
	}
	if config.WrapSession != nil || config.UnwrapSession != nil {
		return nil, errWrapped
	}
	return c.views.note(config, c.newView(config)), nil
}

// viewOfMade is newView of what TLSConfig made. The hooks that are still ours
// give way to those they call, or each handshake would be counted twice.
func (c *serverCore) viewOfMade(config *tls.Config, made *madeConfig) (*serverView, error) {
	now := hooksOf(config)
	if now.wrap != made.hooks.wrap || now.unwrap != made.hooks.unwrap {
		return nil, errWrapped
	}
	v := c.newView(config)
	if now.verify == made.hooks.verify {
		v.verify = made.view.verify
	}
	if now.getConfig == made.hooks.getConfig {
		v.getConfig = made.view.getConfig
	}
	return v, nil
}

// hooks are the functions of a configuration that we set, by their code. What
// they close over is not compared: no code of ours comes from elsewhere.
type hooks struct{ wrap, unwrap, verify, getConfig uintptr }

func hooksOf(config *tls.Config) hooks {
	code := func(f any) uintptr { return reflect.ValueOf(f).Pointer() }
	return hooks{
		code(config.WrapSession), code(config.UnwrapSession),
		code(config.VerifyConnection), code(config.GetConfigForClient),
	}
}

// A madeConfig is what TLSConfig made of a view, and the hooks it has set.
type madeConfig struct {
	view  *serverView
	hooks hooks
}

// newView is a template, so that what does not change is made once and not for
// each connection.
func (c *serverCore) newView(config *tls.Config) *serverView {
	v := &serverView{
		core:      c,
		template:  config.Clone(),
		getConfig: config.GetConfigForClient,
		verify:    config.VerifyConnection,
		bind:      c.policy(config),
	}
	// Each connection gets a clone, and crypto/tls would make each its own
	// keys of the standard kind, which nobody uses. Clones share what is there:
	// a key that was set, and what a first use of the template leaves behind.
	var unused [32]byte
	rand.Read(unused[:])
	v.template.SetSessionTicketKeys([][32]byte{unused})
	v.template.DecryptTicket(nil, tls.ConnectionState{})
	return v
}

// policy is what a configuration asks of clients, as far as it can be seen:
// whether certificates are asked for, and how they are verified. crypto/tls
// itself verifies the chain against ClientCAs again at each resumption, runs
// VerifyConnection and looks at NotAfter; it does not call
// VerifyPeerCertificate (rule T13), nor does it know what an earlier
// configuration demanded.
func (c *serverCore) policy(config *tls.Config) [16]byte {
	seen, own := []byte{byte(config.ClientAuth), 0}, []byte(nil)
	// Without client certificates there is nothing that a client could have
	// been asked, and sessions of all configurations are alike.
	if config.ClientAuth != tls.NoClientCert {
		if config.VerifyPeerCertificate != nil {
			seen[1] = 1
		}
		if c.domain.name == "" { // nobody's word that this one equals another
			own = []byte(rand.Text())
		}
	}
	sum := sha256.Sum256(label("tlsresume server 1", c.domain.name, string(seen), string(own)))
	return [16]byte(sum[:16])
}

// config makes the configuration of one connection, or, without a link, of any
// number.
func (v *serverView) config(l *serverLink) *tls.Config {
	config := v.template.Clone()
	config.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		return v.wrap(l, &cs, state), nil
	}
	config.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		return v.unwrap(l, identity, &cs), nil // never an error (rule T18)
	}
	config.VerifyConnection = func(cs tls.ConnectionState) error { return v.verified(l, &cs) }
	// Only if the user has one: with it crypto/tls passes over the certificates
	// and protocols that others may add to a clone of ours.
	if v.getConfig != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return v.forClient(hello, l)
		}
	}
	return config
}

// forClient asks the user for the client's configuration, and gives it the
// hooks. One that wraps sessions itself fails the handshake, as it panics in
// TLSConfig: its tickets would be of another kind, in silence.
func (v *serverView) forClient(hello *tls.ClientHelloInfo, l *serverLink) (*tls.Config, error) {
	config, err := v.getConfig(hello)
	if err != nil || config == nil {
		return nil, err
	}
	theirs, err := v.core.viewOf(config)
	if err != nil {
		return nil, err
	}
	if l != nil {
		return theirs.config(l), nil
	}
	theirs.once.Do(func() { theirs.common = theirs.config(nil) })
	return theirs.common, nil
}

// serverViews remembers views: of configurations of the user, which it holds on
// to as viewMemo does, and of those made by TLSConfig, which it does not.
type serverViews struct {
	mu    sync.RWMutex // guards the rest
	views map[*tls.Config]*serverView
	made  map[weak.Pointer[tls.Config]]*madeConfig
}

// of is the view of a configuration of the user, or nil.
func (m *serverViews) of(config *tls.Config) *serverView {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.views[config]
}

// note remembers a view, unless there is one already, and returns what counts:
// two who ask at once must get one, as each has a bind of its own without a
// Scope. At the bound it starts over, and tickets of forgotten configurations
// of that kind are a stranger's.
func (m *serverViews) note(config *tls.Config, v *serverView) *serverView {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.views[config]; known != nil {
		return known
	}
	if m.views == nil || len(m.views) >= maxServerConfigs {
		m.views = make(map[*tls.Config]*serverView)
	}
	m.views[config] = v
	return v
}

// ofMade is what TLSConfig made a configuration of, or nil.
func (m *serverViews) ofMade(config *tls.Config) *madeConfig {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.made[weak.Make(config)]
}

// noteMade does not keep the configuration alive: it is the user's, who may
// make one for each connection.
func (m *serverViews) noteMade(config *tls.Config, v *serverView) {
	at := weak.Make(config)
	runtime.AddCleanup(config, m.forget, at)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made == nil {
		m.made = make(map[weak.Pointer[tls.Config]]*madeConfig)
	}
	m.made[at] = &madeConfig{v, hooksOf(config)}
}

// forget runs when a made configuration is gone. A weak pointer is never equal
// to one of a later object at the same address, so it forgets no other.
func (m *serverViews) forget(at weak.Pointer[tls.Config]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.made, at)
}
