package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// An outcome is what came of a script.
type outcome struct {
	reply any
	err   error
}

// removeEverywhere sends WAIT behind the script, over the same connection,
// since it is about what was written over it. Both go in one round trip, so
// WAIT is on its way before anybody knows whether there is something to wait
// for. If there is not, the caller is told as soon as the script's reply is
// there, and the connection ends its WAIT in the background.
func (s *Store) removeEverywhere(ctx context.Context, c *script, key string, args []any) (reply any, err error) {
	names := s.names(key)
	err = taught(func(whole bool) error {
		hasty := &hasty{outcomes: make(chan outcome, 2)} // one of each who sends
		build := func() *redis.Cmd { return c.command(ctx, whole, names, args) }
		go func() {
			reply, err := s.removeOver(ctx, names[0], build, hasty)
			hasty.outcomes <- outcome{reply, err}
		}()
		first := <-hasty.outcomes
		reply = first.reply
		return first.err
	})
	return reply, err
}

// removeOver finds the connection. WAIT has no key by which a cluster's client
// could find the node. Watch gives a connection to the key's; what it watches
// does not matter.
func (s *Store) removeOver(ctx context.Context, name string, build func() *redis.Cmd, hasty *hasty) (reply any, err error) {
	if one, ok := s.client.(*redis.Client); ok {
		return s.removeOn(ctx, one, build(), hasty)
	}
	watchErr := s.client.Watch(ctx, func(tx *redis.Tx) error {
		reply, err = s.removeOn(ctx, tx, build(), hasty)
		if hasty.told.Load() {
			return nil // or Watch might do it again
		}
		return err
	}, name)
	if err == nil && reply == nil {
		err = watchErr
	}
	return reply, err
}

// A pipeliner is a client, or a connection of one.
type pipeliner interface {
	Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error)
}

// removeOn pipelines script and WAIT. An error of WAIT is the removal's: it was
// made, and is lost.
func (s *Store) removeOn(ctx context.Context, conn pipeliner, cmd *redis.Cmd, hasty *hasty) (any, error) {
	var wait *redis.Cmd
	conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Process(ctx, telling{cmd, hasty})
		wait = s.wait(ctx, p)
		return nil
	})
	err := cmd.Err()
	if err == nil {
		err = s.heard(wait)
	}
	return cmd.Val(), err
}

// wait is WAIT, whose 0 would mean to wait for ever.
func (s *Store) wait(ctx context.Context, p redis.Pipeliner) *redis.Cmd {
	return p.Do(ctx, "wait", s.opts.Replicas, max(1, s.opts.ReplicaTimeout.Milliseconds()))
}

// errUnheard is of a removal that was made and may be undone.
var errUnheard = errors.New("too few replicas have heard of the removal")

// heard fails if fewer replicas than asked for have answered WAIT.
func (s *Store) heard(wait *redis.Cmd) error {
	n, err := wait.Int()
	if err == nil && n < s.opts.Replicas {
		err = fmt.Errorf("%w: %d of %d", errUnheard, n, s.opts.Replicas)
	}
	return err
}

// A hasty tells a caller what came of his script before WAIT has ended: that
// nothing was removed.
type hasty struct {
	told     atomic.Bool
	outcomes chan outcome
}

// A telling is a script that does so. Once it has, the client must not send it
// again, should the connection break under the WAIT: what it then removed
// nobody would have.
type telling struct {
	*redis.Cmd
	*hasty
}

// SetErr is called by the client when it has read the reply, whatever it is.
func (t telling) SetErr(err error) {
	t.Cmd.SetErr(err)
	if nothing(t.Val(), err) && t.told.CompareAndSwap(false, true) {
		t.outcomes <- outcome{t.Val(), err}
	}
}

// NoRetry and Clone are as those of once.
func (t telling) NoRetry() bool      { return t.told.Load() }
func (t telling) Clone() redis.Cmder { return telling{t.Cmd.Clone().(*redis.Cmd), t.hasty} }

// again are the server's errors that clients answer by sending the command
// again, here or to another server. They must be left to do so; and WAIT is as
// fast there, since such a server refuses it as well.
var again = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "max number of clients",
}

// nothing reports whether a script has removed nothing that a caller could
// have: the server says that it was refused or has failed, or its reply is
// empty.
func nothing(reply any, err error) bool {
	var said redis.Error
	if errors.As(err, &said) {
		return !slices.ContainsFunc(again, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
	}
	list, isList := reply.([]any)
	return err == nil && (reply == int64(0) || isList && len(list) == 0)
}
