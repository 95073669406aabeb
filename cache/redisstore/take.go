package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// Take removes up to max entries of the key and returns them. It is specified
// by cache.Store.
func (s *Store) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	entries, err := s.take(ctx, key, max)
	return entries, fail("take", err)
}

// take loses what the script removed if the call is given up on before its
// reply is there. A record that no Put can have written is dropped: it is gone
// already.
func (s *Store) take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	if max < 1 {
		return nil, fmt.Errorf("at most %d entries are wanted", max)
	}
	reply, err := patiently(ctx, func() (any, error) {
		return s.remove(ctx, takeScript, key, append(s.common(), s.opts.Replicas, max))
	})
	if err != nil {
		return nil, err
	}
	fields, err := texts(reply)
	if err != nil {
		return nil, err
	}
	entries := make([]cache.Entry, 0, len(fields)/2)
	for ; len(fields) >= 2; fields = fields[2:] {
		expiry, value, _ := strings.Cut(fields[1], ":")
		at, err := timeOf(expiry)
		if err != nil {
			continue // no Put wrote it
		}
		entries = append(entries, cache.Entry{ID: fields[0], Value: []byte(value), Expires: at})
	}
	if len(entries) == 0 {
		return nil, cache.ErrMiss
	}
	return entries, nil
}

// Delete removes an entry and reports whether it was there. It is specified by
// cache.Store.
func (s *Store) Delete(ctx context.Context, key, id string) (bool, error) {
	reply, err := patiently(ctx, func() (any, error) {
		return s.remove(ctx, deleteScript, key, append(s.common(), s.opts.Replicas, id))
	})
	if err != nil {
		return false, fail("delete", err)
	}
	return reply == int64(1), nil
}

// texts are the strings of a script's reply, numbers among them. A reply of
// another form is an error: somebody else answers there.
func texts(reply any) ([]string, error) {
	list, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("the reply is a %T", reply)
	}
	fields := make([]string, 0, len(list))
	for _, field := range list {
		switch field := field.(type) {
		case string:
			fields = append(fields, field)
		case int64:
			fields = append(fields, strconv.FormatInt(field, 10))
		default:
			return nil, fmt.Errorf("the reply has a %T", field)
		}
	}
	return fields, nil
}

// timeOf is the opposite of expiry.
func timeOf(expiry string) (time.Time, error) {
	if expiry == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(expiry, 10, 64)
	return time.UnixMilli(ms), err
}
