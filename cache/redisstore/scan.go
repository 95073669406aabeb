package redisstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/cache"
)

// page is how many names of Redis are looked at with one command, which stops
// the server for some ten microseconds.
const page = 512

// Clear removes everything in the namespace. It is specified by cache.Store. It
// walks over all names that the servers have, others' too.
func (s *Store) Clear(ctx context.Context) error {
	return fail("clear", s.clear(ctx))
}

// clear unlinks what it finds, page by page, and is no single step: what is put
// behind its back may stay. The first error ends it, and says so.
func (s *Store) clear(ctx context.Context) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		// Either of the two keys may be alone.
		for _, suffix := range []string{indexSuffix, recordsSuffix} {
			for found, err := range s.scan(ctx, node, suffix) {
				if err != nil {
					return err
				}
				if err := s.unlink(ctx, node, found); err != nil {
					return err
				}
			}
		}
	}
	if s.opts.Replicas == 0 {
		return nil
	}
	return s.clearedEverywhere(ctx, nodes)
}

// unlink removes one key a command: two may be in different slots. UNLINK frees
// the memory behind the command, where DEL would stop the server for large
// ones. It is the server's where they were found: a ring would look for them
// elsewhere if others have come or gone since they were put. A cluster's client
// knows where a slot has moved to meanwhile.
func (s *Store) unlink(ctx context.Context, node *redis.Client, names []string) error {
	var client redis.UniversalClient = node
	if _, ring := s.client.(*redis.Ring); !ring {
		client = s.client
	}
	_, err := patiently(ctx, func() ([]redis.Cmder, error) {
		return client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, name := range names {
				p.Unlink(ctx, name)
			}
			return nil
		})
	})
	return err
}

// clearedEverywhere waits for replicas. WAIT is about everything that the
// server had done before the command in front of it.
func (s *Store) clearedEverywhere(ctx context.Context, nodes []*redis.Client) error {
	for _, node := range nodes {
		_, err := patiently(ctx, func() (any, error) {
			var wait *redis.Cmd
			node.Pipelined(ctx, func(p redis.Pipeliner) error {
				p.Ping(ctx)
				wait = s.wait(ctx, p)
				return nil
			})
			return nil, s.heard(wait)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// List ranges over all entries. It is specified by cache.Lister. Like Clear it
// walks over all names that the servers have.
func (s *Store) List(ctx context.Context) iter.Seq2[cache.Listed, error] {
	return func(yield func(cache.Listed, error) bool) {
		if err := s.list(ctx, func(l cache.Listed) bool { return yield(l, nil) }); err != nil && err != errStopped {
			yield(cache.Listed{}, fail("list", err))
		}
	}
}

// errStopped is for a caller who wants no more.
var errStopped = errors.New("stopped")

// list is one script for each key, which shows what belongs to the server's
// life and has not expired: what Take could return. The names seen are kept as
// half a hash, 16 bytes for each key that there is.
func (s *Store) list(ctx context.Context, visit func(cache.Listed) bool) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	seen := make(map[[16]byte]bool) // SCAN may show a name more than once
	for _, node := range nodes {
		for found, err := range s.scan(ctx, node, indexSuffix) {
			if err != nil {
				return err
			}
			var keys []string
			for _, index := range found {
				hash := sha256.Sum256([]byte(index))
				sum := [16]byte(hash[:16])
				if key, ok := s.keyOf(index); ok && !seen[sum] {
					seen[sum] = true
					keys = append(keys, key)
				}
			}
			if err := s.listKeys(ctx, keys, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// listKeys shows what is under some keys, in one round trip, or one for each
// node of a cluster.
func (s *Store) listKeys(ctx context.Context, keys []string, visit func(cache.Listed) bool) error {
	if len(keys) == 0 {
		return nil
	}
	cmds, err := patiently(ctx, func() (cmds []redis.Cmder, err error) {
		err = taught(func(whole bool) error {
			cmds, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, key := range keys {
					p.Process(ctx, listScript.command(ctx, whole, s.names(key), s.common()))
				}
				return nil
			})
			return err
		})
		return cmds, err
	})
	if err != nil {
		return err
	}
	for i, cmd := range cmds {
		fields, err := texts(cmd.(*redis.Cmd).Val())
		if err != nil {
			return err
		}
		for ; len(fields) >= 3; fields = fields[3:] {
			l := cache.Listed{Key: keys[i], ID: fields[0]}
			if l.Expires, err = timeOf(fields[1]); err != nil {
				continue // no Put wrote it
			}
			l.Size, _ = strconv.Atoi(fields[2])
			if !visit(l) {
				return errStopped
			}
		}
	}
	return nil
}

// nodes are the servers that have keys: SCAN is about one server, and go-redis
// would send it to any. Clients that wrap another without telling its kind are
// refused, since what was not walked over would pass for cleared.
func (s *Store) nodes(ctx context.Context) ([]*redis.Client, error) {
	return patiently(ctx, func() (nodes []*redis.Client, err error) {
		var mu sync.Mutex
		add := func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, node)
			return nil
		}
		switch client := s.client.(type) {
		case *redis.Client:
			nodes = append(nodes, client)
		case interface {
			ForEachMaster(context.Context, func(context.Context, *redis.Client) error) error
		}:
			err = client.ForEachMaster(ctx, add)
		case interface {
			ForEachShard(context.Context, func(context.Context, *redis.Client) error) error
		}:
			err = client.ForEachShard(ctx, add)
			if ring, ok := s.client.(*redis.Ring); ok && err == nil {
				err = allOf(ring, len(nodes))
			}
		default:
			err = fmt.Errorf("a %T does not tell its servers", s.client)
		}
		return nodes, err
	})
}

// allOf fails if a ring has shown fewer servers than it was made of: it passes
// over those that do not answer, whose entries come back with them. One that
// SetAddrs has made smaller fails as well, since it does not say so.
func allOf(ring *redis.Ring, shown int) error {
	if all := len(ring.Options().Addrs); shown < all {
		return fmt.Errorf("%d of %d servers of the ring are there", shown, all)
	}
	return nil
}

// scan ranges over a server's names in the namespace, in pages. What is there
// from the beginning to the end is shown at least once, as Redis promises.
func (s *Store) scan(ctx context.Context, node *redis.Client, suffix string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for cursor := uint64(0); ; {
			cmd, err := patiently(ctx, func() (*redis.ScanCmd, error) {
				cmd := node.Scan(ctx, cursor, s.pattern(suffix), page)
				return cmd, cmd.Err()
			})
			if err != nil {
				yield(nil, err)
				return
			}
			var found []string
			if found, cursor = cmd.Val(); !yield(found, nil) || cursor == 0 {
				return
			}
		}
	}
}
