package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/cache"
)

// Put adds entries under the key. It is specified by cache.Store.
func (s *Store) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	return fail("put", s.put(ctx, key, entries))
}

// put sends one script, once, and says whether it is certain that nothing came
// of it. A call that was given up, because its context ended, is not: the
// command may be on its way.
func (s *Store) put(ctx context.Context, key string, entries []cache.Entry) error {
	if err := ctx.Err(); err != nil {
		return notStored(err)
	}
	if err := s.fits(key, entries); err != nil {
		return notStored(err)
	}
	if len(entries) == 0 {
		return nil
	}
	args := append(s.common(), s.opts.MaxPerKey)
	for _, e := range lastOfEach(entries) {
		// A copy of the value: the client may outlive the call.
		args = append(args, e.ID, expiry(e), string(e.Value))
	}
	_, err := patiently(ctx, func() (struct{}, error) {
		return struct{}{}, s.putOnce(ctx, key, args)
	})
	if err != nil && refused(err) {
		err = notStored(err)
	}
	return err
}

// fits refuses what the server would take: the bound is the store's own.
func (s *Store) fits(key string, entries []cache.Entry) error {
	for _, e := range entries {
		if len(key)+len(e.ID) > maxNames {
			return fmt.Errorf("key and ID have %d bytes, at most %d are allowed", len(key)+len(e.ID), maxNames)
		}
		if len(e.Value) > s.opts.MaxValue {
			return fmt.Errorf("a value has %d bytes, at most %d are allowed", len(e.Value), s.opts.MaxValue)
		}
	}
	return nil
}

// common is what all scripts expect first.
func (s *Store) common() []any {
	if s.opts.Survive {
		return []any{"survive"}
	}
	return []any{"life"}
}

// lastOfEach leaves the last entry of each ID, in its place, since the script
// expects no ID twice. What is above MaxPerKey the script leaves out, when it
// knows what has expired by the server's clock.
func lastOfEach(entries []cache.Entry) []cache.Entry {
	if len(entries) == 1 {
		return entries
	}
	seen := make(map[string]bool, len(entries))
	last := make([]cache.Entry, 0, len(entries))
	for _, e := range slices.Backward(entries) {
		if !seen[e.ID] {
			seen[e.ID] = true
			last = append(last, e)
		}
	}
	slices.Reverse(last)
	return last
}

// expiry is how scripts write it: milliseconds since 1970, or nothing for
// never.
func expiry(e cache.Entry) string {
	if e.Expires.IsZero() {
		return ""
	}
	return strconv.FormatInt(e.Expires.UnixMilli(), 10)
}

// refusals are the errors of a server that has done nothing: those that come
// before a script begins, and those that stop it at its first write. Once it
// has written, Redis lets it go on to its end (see put.lua).
var refusals = []string{
	"OOM", "READONLY", "NOREPLICAS", "MISCONF", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
	"MOVED", "ASK", "CROSSSLOT", "WRONGTYPE", "NOSCRIPT", "NOAUTH", "WRONGPASS",
	"max number of clients", // HasErrorPrefix cuts "ERR "
}

// refused reports whether it is certain that a Put which was sent at most once
// has stored nothing: no connection was made, or the server said so.
func refused(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	if errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		return true
	}
	return slices.ContainsFunc(refusals, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
}

// notStored marks errors after which nothing of a Put is there.
func notStored(err error) error { return notStoredError{err} }

type notStoredError struct{ error }

// Is and Unwrap let errors.Is find both: what it means, and why it is so.
func (e notStoredError) Is(target error) bool { return target == cache.ErrNotStored }
func (e notStoredError) Unwrap() error        { return e.error }

// fail says which call failed. ErrMiss comes through as it is.
func fail(call string, err error) error {
	if err == nil || err == cache.ErrMiss {
		return err
	}
	return fmt.Errorf("redisstore: %s: %w", call, err)
}
