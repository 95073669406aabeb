package resume

import (
	"runtime"
	"sync"
	"weak"
)

// names finds the domain of a name as long as somebody uses it: a scope, or a
// session. It holds domains weakly, so that a program may make a scope for
// every user it meets. It does not point to the core: the clean-up of a domain
// keeps names alive, and must not keep the domain alive through it.
type names struct {
	mu     sync.Mutex // guards byName
	byName map[string]weak.Pointer[domain]
}

// newNames knows no name yet.
func newNames() *names { return &names{byName: make(map[string]weak.Pointer[domain])} }

// domain is the domain of a name, made if nobody has it. Under the lock, so
// that two who ask at once get the same: two domains of one name would not
// share.
func (n *names) domain(c *core, name string) *domain {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.byName[name].Value(); d != nil {
		return d
	}
	d := newDomain(c, name)
	n.byName[name] = weak.Make(d)
	runtime.AddCleanup(d, n.forget, name)
	return d
}

// forget drops the name of a domain that is gone, unless a new one has it: it
// runs some time after the domain was found unreachable, and meanwhile somebody
// may have asked for the name again.
func (n *names) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byName[name].Value() == nil {
		delete(n.byName, name)
	}
}
