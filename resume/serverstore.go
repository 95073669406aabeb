package resume

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// A serverStore is the store of a ServerCache. A session is alone under a key
// that only its handle leads to, so that to take it is to take that key.
//
// Handles look as those of sessions in memory do. Their check is made with the
// keys of the SealedStore, which all servers of a fleet have, and the place in
// the store is another HMAC of the same things: who reads the store cannot make
// tickets of its keys. Unlike the client's sessions these have no scope in
// their place, so that Clear of a ClientCache that shares the store passes them
// by, unless it clears the whole of it.
type serverStore struct {
	core   *serverCore
	sealed *SealedStore

	shared singleflight.Group // of those who want one TLS 1.2 session

	// A call that nobody waits for goes on (servercall.go), so that a store
	// that hangs would gather one goroutine for each handshake.
	slots chan struct{} // bounds the calls that run

	lateTakes, latePuts atomic.Int32              // calls in a row that were too slow
	paused              atomic.Pointer[time.Time] // until when nobody waits for the store; or nil
}

// newServerStore is nil for none: sessions are then in memory.
func newServerStore(c *serverCore, sealed *SealedStore) *serverStore {
	if sealed == nil {
		return nil
	}
	return &serverStore{core: c, sealed: sealed, slots: make(chan struct{}, maxStoreCalls)}
}

// handleNames are the check of a handle and its place, once for each key of the
// ring, the first first: that one is used for what is put.
func (s *serverStore) handleNames(context, random []byte) (checks [][]byte, places []string) {
	both := s.sealed.keys.IndexesOf(
		label("tlsresume server check", string(context), string(random)),
		label("tlsresume server place", string(context), string(random)),
	)
	for _, name := range both[0] {
		checks = append(checks, decoded(name)[:len(handle{})-handleRandom])
	}
	return checks, both[1]
}

// placeOf is where the session of a handle is, if it was made with one of the
// keys in this context, and whether that is where it would be put now.
func (s *serverStore) placeOf(context, identity []byte) (place string, current, ok bool) {
	checks, places := s.handleNames(context, identity[:handleRandom])
	for i, check := range checks {
		if hmac.Equal(check, identity[handleRandom:]) {
			return places[i], i == 0, true
		}
	}
	return "", false, false
}

// send stores a session and returns its ticket. It reports false when the store
// did not take it, and nothing is known of the session then: the ticket that
// would have led to it, wherever it is, is not sent.
//
// The order is the contract: what is sent is in the store, or the client could
// come back to another server before it is. What the store has and was not sent
// expires there. A handle counts as captured only when the store has said so.
func (s *serverStore) send(l *serverLink, context []byte, cs *tls.ConnectionState, state *tls.SessionState, d descent, now time.Time) ([]byte, bool) {
	t := new(handle)
	s.name(t, cs, state)
	checks, places := s.handleNames(context, t[:handleRandom])
	if len(checks) == 0 {
		return nil, false // an empty ring, or one that was emptied just now
	}
	copy(t[handleRandom:], checks[0])
	if d.stored { // TLS 1.2: it was put back when it was taken, and this is its ticket
		return t[:], true
	}
	of := s.core.newServed(t[:], state, cs, d, l, now)
	defer of.release()
	if of.unresumable(now) != none { // told of by the way through memory
		return nil, false
	}
	where, err := s.put(l, places[0], t[:], state, of)
	if err != nil {
		return nil, false
	}
	// Not a compare-and-swap: nobody knows it yet. In the books it is one that
	// was captured and has moved, so that they balance.
	of.filed.Store(where)
	of.verdict.Store(stored)
	s.core.books.ledger.capture(of)
	s.core.books.ledger.move(of)
	s.core.sent(l, of)
	return t[:], true
}

// name chooses the random part of a handle as serverView.fill does. For TLS 1.2
// it comes from the secret by the first key of the ring: wherever the session
// resumes, its ticket is the same as long as that key is.
func (s *serverStore) name(t *handle, cs *tls.ConnectionState, state *tls.SessionState) {
	rand.Read(t[:handleRandom])
	if cs.Version >= tls.VersionTLS13 {
		return
	}
	secret := secretOf(state)
	defer clear(secret)
	names := s.sealed.keys.Indexes(label("tlsresume server session", string(secret)))
	if len(names) > 0 {
		copy(t[:handleRandom], decoded(names[0]))
	}
}

// decoded is what the keys made a name of. They encode it, so that it decodes.
func decoded(name string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(name)
	return b
}

// put seals a session and puts it, within what a handshake may wait. It may be
// there in spite of an error; then it is there for nobody.
func (s *serverStore) put(l *serverLink, place string, t []byte, state *tls.SessionState, of *session) (*filing, error) {
	plain, err := recordOf(t, state, of).MarshalBinary()
	if err != nil {
		s.failed(of.key.name, "put", err)
		return nil, err
	}
	defer clear(plain)
	e := cache.Entry{ID: s.sealed.keys.ID(t), Expires: timeOf(of.expires).Truncate(time.Millisecond)}
	if e.Value, err = s.sealed.keys.Seal(place, e.ID, e.Expires, plain); err != nil {
		s.failed(of.key.name, "put", err)
		return nil, err
	}
	_, err = s.call(l, of.key.name, "put", func(ctx context.Context) ([]cache.Entry, error) {
		return nil, s.sealed.store.Put(ctx, place, e)
	})
	return &filing{place, e.ID}, err
}

// take takes the session at a place out of the store. It returns it with a
// reference, or the reason why there is none. With stays, it is put back at
// once, and those who want it at the same time share it; without, it is lost if
// it turns out to be of no use here.
func (s *serverStore) take(l *serverLink, place string, stays bool, identity []byte, cs *tls.ConnectionState, now time.Time) (*session, *tls.SessionState, string) {
	e, err := s.fetch(l, place, stays, cs.ServerName)
	switch {
	case errors.Is(err, cache.ErrMiss):
		return nil, nil, missGone
	case err != nil: // told by call, or not worth telling again
		return nil, nil, "store"
	}
	c := s.core
	// The seal ties the record to the place, and the place to random and
	// context; the ticket in it ties it to the check as well.
	record, err := s.sealed.open(place, e)
	if err != nil || !hmac.Equal(record.Ticket, identity) {
		c.count(&c.books.ledger.unreadable)
		s.failed(cs.ServerName, "unreadable", err)
		return nil, nil, "unreadable"
	}
	of := c.revived(record, cs)
	c.books.ledger.fetch(of)
	// NewSession was called when it was sent, here or elsewhere.
	of.spoken.Store(announced)
	switch why := of.lapsed(now); {
	case why != none:
		of.end(why)
		c.books.depart(of)
		of.release()
		return nil, nil, why.reason()
	case stays: // so that Remove finds it
		of.filed.Store(&filing{place, e.ID})
		of.verdict.Store(stored)
		c.books.ledger.move(of)
		c.count(&c.books.ledger.shared)
	default: // before crypto/tls has said whether it wants it: it is gone anyway
		of.end(used)
		c.books.depart(of)
	}
	return of, record.State, ""
}

// fetch takes the entry at a place. One that stays is away for the time between
// two calls of the store: those of this server who ask meanwhile share the
// answer, those of others miss. If the second call fails, it is gone.
func (s *serverStore) fetch(l *serverLink, place string, stays bool, name string) (cache.Entry, error) {
	take := func() (any, error) {
		entries, err := s.call(l, name, "take", func(ctx context.Context) ([]cache.Entry, error) {
			entries, err := s.sealed.store.Take(ctx, place, 1)
			if err == nil && stays { // in the same slot, and the same patience
				err = s.sealed.store.Put(ctx, place, entries...)
			}
			return entries, err
		})
		if err == nil && len(entries) == 0 { // against the contract, but no reason to panic
			err = cache.ErrMiss
		}
		return entries, err
	}
	var got any
	var err error
	if stays {
		got, err = s.share(l, place, take)
	} else {
		got, err = take()
	}
	if err != nil {
		return cache.Entry{}, err
	}
	return got.([]cache.Entry)[0], nil
}

// share makes one call of those that want the same at the same time. Whoever
// did not make it has waited for it all the same.
func (s *serverStore) share(l *serverLink, place string, take func() (any, error)) (any, error) {
	began, made := time.Now(), false
	got, err, _ := s.shared.Do(place, func() (any, error) {
		made = true
		return take()
	})
	if !made {
		l.wait(time.Since(began))
	}
	return got, err
}

// revoke deletes a session from the store, which then says whose it is: the
// caller's, or of who used it. Of several who revoke it here one asks. If the
// store fails, nobody knows, the session is as it was, and the next may ask.
func (s *serverStore) revoke(of *session, v verdict) bool {
	where := of.filed.Load()
	if !of.verdict.CompareAndSwap(stored, reclaiming) {
		return false
	}
	mine, err := s.delete(of, where)
	if err != nil {
		s.failed(of.key.name, "delete", err)
		of.verdict.CompareAndSwap(reclaiming, stored)
		return false
	}
	if !mine { // another server was faster, or it has expired there
		v = used
	}
	if !of.end(v) {
		return false
	}
	s.core.books.depart(of)
	return mine
}

// delete asks the store again if a TLS 1.2 session is not there: a server that
// resumes it has it in hand and puts it back, for which it has no longer than a
// handshake waits.
func (s *serverStore) delete(of *session, where *filing) (mine bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), writeDeadline)
	defer cancel()
	for until := time.Now().Add(2 * takeDeadline); ; {
		mine, err = s.sealed.store.Delete(ctx, where.key, where.id)
		if mine || err != nil || !of.reusable() || time.Now().After(until) {
			return mine, err
		}
		time.Sleep(takeDeadline / 10)
	}
}

// recordOf is a session as it is kept outside the process.
func recordOf(t []byte, state *tls.SessionState, of *session) *ticket.Record {
	// A copy: crypto/tls's own is not to carry our count. The slice is clipped,
	// as what lies behind it may be another layer's.
	kept := *state
	kept.Extra = append(state.Extra[:len(state.Extra):len(state.Extra)], resumptionsExtra(of.info().Resumptions))
	return of.record(t, &kept)
}
