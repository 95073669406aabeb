package resume

import "time"

// judge tells a breaker how a call of the store went, and the user what the
// breaker makes of it: when it opens and when it closes, not each failure in
// between, of which StoreFailed tells.
func (v *vault) judge(b *breaker, key serverKey, call string, err error) {
	e := Event{Kind: StoreRecovered, Scope: key.domain().name, Server: key.name, Reason: call, Err: err}
	changed := false
	if err == nil {
		changed = b.succeeded()
	} else {
		e.Kind = StoreSuspended
		changed = b.failed(time.Now())
	}
	if changed {
		v.tell(func() { v.core.event(e) })
	}
}

// failed counts and tells what went wrong with the store. It never becomes an
// error of a handshake. The count, too, comes with the telling, so that Stats
// are behind for a moment.
func (v *vault) failed(key serverKey, reason string, err error) {
	v.tell(func() { v.core.storeFailed(key, reason, err) })
}

// tell runs what calls the user, in a goroutine of its own and one after the
// other: the writer must not wait for who may be waiting for it, as a callback
// that calls Flush or Clear does. Each waits for the one before it, so that
// events of the store come in order, and never two at a time.
func (v *vault) tell(f func()) {
	v.mu.Lock() // which is what puts them in order
	defer v.mu.Unlock()
	before, done := v.told, make(chan struct{})
	v.told = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		f()
	}()
}

// tellOf tells of something that happened to a session. It holds a reference
// until it has been told, or the borrowed handle would read Freed.
func (v *vault) tellOf(kind EventKind, s *session) {
	if v.core.observe == nil || !s.retain() {
		return
	}
	v.tell(func() {
		defer s.release()
		v.core.eventOf(s, Event{Kind: kind})
	})
}

// tellEnd is depart where the user must not be called.
func (v *vault) tellEnd(s *session) {
	if s.retain() {
		v.tell(func() {
			defer s.release()
			v.core.depart(s)
		})
	}
}
