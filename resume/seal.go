package resume

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/ticket"
)

// A SealedStore is a store outside the process to which nothing but sealed
// bytes goes, under names that only the keys can tell apart. Make one with
// Seal. It is safe for concurrent use, and several caches may share one.
type SealedStore struct {
	store cache.Store
	keys  *ticket.Keyring
}

// Seal makes a SealedStore of a store and the keys that what it holds is
// sealed with. Whoever shares the store and a key shares the sessions: scopes
// of one name are one scope across processes. Nil arguments panic.
func Seal(store cache.Store, keys *ticket.Keyring) *SealedStore {
	if store == nil || keys == nil {
		panic("resume: Seal of a nil store or with a nil keyring")
	}
	return &SealedStore{store: store, keys: keys}
}

// String says nothing of what is in the store or sealed it.
func (s *SealedStore) String() string {
	if s == nil {
		return "SealedStore(nil)"
	}
	return fmt.Sprintf("SealedStore(%T)", s.store)
}

// Format writes String for every verb, so that no verb reaches a key.
func (s *SealedStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue is the same for log/slog.
func (s *SealedStore) LogValue() slog.Value { return slog.StringValue(s.String()) }

// A filing is where a session is in the store.
type filing struct{ key, id string }

// scopeTag is how many characters of a store key tell the scope: keys of one
// scope begin alike, or Clear could not tell them from others
// (docs/decisions/0010). It is 96 bits of an HMAC in base64url: two scopes do
// not meet by chance.
const scopeTag = 16

// places are where a server's sessions are filed: the first for what is put,
// the others where older keys of the ring have put theirs. Each is an HMAC
// under a key of the ring, so that who has the store but no key learns no name;
// and one of scope and print as well, so that what configurations keep apart in
// memory is apart there.
func (s *SealedStore) places(key serverKey) []string {
	print := key.space.Value().print
	both := s.keys.IndexesOf(
		label("scope", key.domain().name),
		label("server", key.domain().name, string(print[:]), key.name),
	)
	scopes, servers := both[0], both[1]
	for i := range servers {
		servers[i] = scopes[i][:scopeTag] + servers[i]
	}
	return servers
}

// place is where a server's sessions are put.
func (s *SealedStore) place(key serverKey) string {
	if places := s.places(key); len(places) > 0 {
		return places[0]
	}
	return "" // an empty ring opens nothing and seals nothing
}

// scopes are the beginnings of a scope's places.
func (s *SealedStore) scopes(name string) []string {
	tags := s.keys.Indexes(label("scope", name))
	for i := range tags {
		tags[i] = tags[i][:scopeTag]
	}
	return tags
}

// label joins parts so that no two lists of parts make one label.
func label(parts ...string) (joined []byte) {
	for _, part := range parts {
		joined = binary.BigEndian.AppendUint32(joined, uint32(len(part)))
		joined = append(joined, part...)
	}
	return joined
}

// entry seals a session. It fails for one that has just ended, whose secret is
// gone. The expiry is cut to the milliseconds that a store keeps before it is
// sealed: it is associated data, and must come back the same.
func (s *SealedStore) entry(place string, of *session) (cache.Entry, error) {
	cs := of.state.Load()
	if cs == nil {
		return cache.Entry{}, errEnded
	}
	ticketBytes, state, err := cs.ResumptionState()
	if err != nil {
		return cache.Entry{}, err
	}
	plain, err := of.record(ticketBytes, state).MarshalBinary()
	if err != nil {
		return cache.Entry{}, err
	}
	defer clear(plain) // it has the secret
	e := cache.Entry{ID: s.keys.ID(ticketBytes), Expires: timeOf(of.expires).Truncate(time.Millisecond)}
	e.Value, err = s.keys.Seal(place, e.ID, e.Expires, plain)
	return e, err
}

// open is the opposite of entry. Place, ID and expiry are those the store
// tells: an entry that was moved, renamed or given more time does not open.
func (s *SealedStore) open(place string, e cache.Entry) (*ticket.Record, error) {
	plain, err := s.keys.Open(place, e.ID, e.Expires, e.Value)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	record := new(ticket.Record)
	return record, record.UnmarshalBinary(plain)
}

// clearScope deletes what is filed under a scope. A store that cannot say what
// it holds is cleared as a whole: too much is lost rather than too little. It
// goes by the tags of all keys of the ring, for what was put before a rotation.
// The first error ends it: Clear's caller hears that something may be left.
func (s *SealedStore) clearScope(ctx context.Context, name string) error {
	lister, ok := s.store.(cache.Lister)
	if !ok {
		return s.store.Clear(ctx)
	}
	scopes := s.scopes(name)
	for listed, err := range lister.List(ctx) {
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(scopes, func(scope string) bool { return strings.HasPrefix(listed.Key, scope) }) {
			continue
		}
		if _, err := s.store.Delete(ctx, listed.Key, listed.ID); err != nil {
			return err
		}
	}
	return nil
}
