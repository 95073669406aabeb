package resume

import (
	"cmp"
	"context"
	"crypto/tls"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// revive makes a session of what the store handed out and puts it into the
// pool. It reports whether there is one to be used.
func (v *vault) revive(key serverKey, seen *view, place string, e cache.Entry, birth uint64) bool {
	c := v.core
	if c.closed.Load() { // while the store was looking
		v.returnEntry(place, e)
		return false
	}
	record, err := v.sealed.open(place, e)
	var cs *tls.ClientSessionState
	if err == nil {
		cs, err = tls.NewResumptionState(record.Ticket, record.State)
	}
	if err != nil || record.Scope != key.domain().name || record.Server != key.name {
		c.ledger.count(&c.ledger.unreadable)
		v.failed(key, "unreadable", err)
		return false
	}
	var info ticket.Info
	inspect(&info, record.Ticket, record.State, 0)
	s := c.newSession(key, live)
	defer s.release()
	s.birth, s.serial = birth, c.serial.Add(1)
	s.name(record.Ticket)
	s.allowReuse(info.Version)
	s.setRecord(&info, record, seen)
	s.state.Store(cs)
	s.spoken.Store(announced) // when it was received, here or elsewhere
	c.ledger.fetch(s)
	where := filing{place, e.ID}
	if why := cmp.Or(s.spent(time.Now()), v.doomOf(where)); why != none {
		s.end(why)
		v.tellEnd(s)
		return false
	}
	if s.reusable() {
		v.putBack(s, place, e)
	}
	c.pooled(s, 0)
	if why := v.doomOf(where); why != none { // since we looked
		v.finish(s, why)
	}
	if s.reusable() && !s.verdict.Load().open() { // by a Clear that came too early for it
		v.forget(s)
	}
	v.tellOf(SessionFetched, s)
	return true
}

// spent is why a session that was stored cannot be used any more, or none.
func (s *session) spent(now time.Time) verdict {
	switch v := s.lapsed(now); {
	case v == clockBack: // not yet
	case v != none:
		return v
	}
	switch {
	case s.isCleared():
		return cleared
	case s.core().known(s.key).refusedSince(s.endpoint, timeOf(s.received)):
		return failedRefused
	}
	return none
}

// setRecord is setInfo for a session that was received some time ago, maybe by
// another process with other limits: the tighter ones count.
func (s *session) setRecord(info *ticket.Info, r *ticket.Record, seen *view) {
	o := &origin{
		key: s.key, facts: facts{alpn: r.ALPN}, serverName: r.ServerName,
		endpoint: r.Endpoint, clientNotAfter: seen.clientNotAfter,
	}
	if !r.FullHandshake.IsZero() {
		o.facts.fullHandshake = r.FullHandshake.UnixNano()
	}
	s.setInfo(info, o, r.Received)
	s.shorten(r.Expires)
}

// putBack stores a TLS 1.2 session again, for others to use as well.
func (v *vault) putBack(s *session, place string, e cache.Entry) {
	s.filed.Store(&filing{place, e.ID}) // or may be, after an error
	if err := v.returnEntry(place, e); err != nil {
		v.failed(s.key, "put", err)
	}
}

func (v *vault) returnEntry(place string, e cache.Entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	return v.sealed.store.Put(ctx, place, e)
}
