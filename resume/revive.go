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
// pool. It reports whether there is one to be used, or whether there will be
// one later, by our clock: that is for others, whose clocks are right. The store
// has it no more, so whatever is neither is gone: what cannot be read, and what
// has ended since it was stored.
//
// NewSession is not called again for it, and the ledger knows it from here on,
// whatever becomes of it, so that the books balance.
func (v *vault) revive(key serverKey, seen *view, place string, e cache.Entry, birth uint64) (usable, later bool) {
	c := v.core
	if c.closed.Load() { // while the store was looking
		v.returnEntry(place, e)
		return false, false
	}
	record, err := v.sealed.open(place, e)
	var cs *tls.ClientSessionState
	if err == nil {
		cs, err = tls.NewResumptionState(record.Ticket, record.State)
	}
	// The seal ties an entry to its place, and the place is an HMAC of scope,
	// configuration and server. The names are looked at all the same: no error
	// elsewhere is to bring a session into a scope that is not its own.
	if err != nil || record.Scope != key.domain().name || record.Server != key.name {
		c.ledger.count(&c.ledger.unreadable)
		v.failed(key, "unreadable", err)
		return false, false
	}
	var info ticket.Info
	inspect(&info, record.Ticket, record.State, 0)
	s := c.newSession(key, live)
	defer s.release()
	// The birth is that of the fetch. The handshake's is not known, and for a
	// Clear since the store was asked this is old enough.
	s.birth, s.serial = birth, c.serial.Add(1)
	s.name(record.Ticket)
	s.allowReuse(info.Version)
	s.setRecord(&info, record, seen)
	now, where := time.Now(), filing{place, e.ID}
	if s.lapsed(now) == clockBack && !v.isOver(key, where, birth) {
		return false, true
	}
	s.state.Store(cs)
	s.spoken.Store(announced) // when it was received, here or elsewhere
	c.ledger.fetch(s)
	if why := cmp.Or(s.spent(now), v.doomOf(where)); why != none {
		s.end(why)
		v.spare(where) // it is in the store no more
		v.tellEnd(s)
		return false, false
	}
	if s.reusable() { // before it is in the pool, where Remove looks for filed
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
	return true, false
}

// spent is why a session that was stored cannot be used any more, or none. A
// clock that stands before its receipt is not among the reasons: that is for
// others to judge.
//
// What an endpoint refused here counts against what it gave out before and
// others have stored (rule N16).
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
// another process with other limits: the tighter ones count. As to
// the client's certificate it goes by the configuration that asked, which is
// what will present it.
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

// putBack stores a TLS 1.2 session again, for others to use as well. It is the
// entry itself, so that it keeps place, ID and seal. If the store fails, only
// the others miss it.
func (v *vault) putBack(s *session, place string, e cache.Entry) {
	s.filed.Store(&filing{place, e.ID}) // or may be, after an error
	if err := v.returnEntry(place, e); err != nil {
		v.failed(s.key, "put", err)
	}
}

// isOver reports whether what was taken out of the store since birth has been
// cleared or removed.
func (v *vault) isOver(key serverKey, where filing, birth uint64) bool {
	return (&session{key: key, birth: birth}).isCleared() || v.doomOf(where) != none
}

// returnEarly stores again what revive did not want yet.
func (v *vault) returnEarly(key serverKey, place string, entries []cache.Entry, birth uint64) {
	if len(entries) == 0 {
		return
	}
	if err := v.returnEntry(place, entries...); err != nil {
		v.failed(key, "put", err)
	}
	for _, e := range entries {
		if where := (filing{place, e.ID}); v.isOver(key, where, birth) { // since we looked
			v.drop(key, where)
		}
	}
}

// returnEntry puts entries back as they came, the last as the newest of its key.
func (v *vault) returnEntry(place string, entries ...cache.Entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	return v.sealed.store.Put(ctx, place, entries...)
}
