package redisstore

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

// The scripts, one for each verb. Redis runs a script to its end before it does
// anything else, which is all there is to at-most-once among clients.
var (
	//go:embed lua/common.lua
	commonLua string
	//go:embed lua/put.lua
	putLua string
	//go:embed lua/take.lua
	takeLua string
	//go:embed lua/delete.lua
	deleteLua string
	//go:embed lua/list.lua
	listLua string

	putScript    = newScript(putLua)
	takeScript   = newScript(takeLua)
	deleteScript = newScript(deleteLua)
	listScript   = newScript(listLua)
)

// A script is known to the servers by its digest, and to a server that has
// restarted not at all.
type script struct{ source, digest string }

// newScript puts the common part before the verb's.
func newScript(verb string) *script {
	source := commonLua + "\n" + verb
	digest := sha1.Sum([]byte(source)) // how Redis names scripts
	return &script{source, hex.EncodeToString(digest[:])}
}

// command is EVALSHA, or EVAL for a server that does not know the script yet.
// Its first key stands at 3, by which a cluster's client finds the node.
func (c *script) command(ctx context.Context, whole bool, names []string, args []any) *redis.Cmd {
	verb, text := "evalsha", c.digest
	if whole {
		verb, text = "eval", c.source
	}
	all := append(make([]any, 0, 3+len(names)+len(args)), verb, text, len(names))
	for _, name := range names {
		all = append(all, name)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	return cmd
}

// taught sends a script by its name, and as a whole to servers that answer that
// they do not know it. Such an answer says that nothing was done, so to send it
// again is no repetition, for a Put neither.
func taught(send func(whole bool) error) error {
	err := send(false)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		err = send(true)
	}
	return err
}

// A once is a command that the client does not send again: not when the
// connection breaks after it was sent, and it may have been done.
type once struct{ *redis.Cmd }

// NoRetry is asked by the client when the connection broke; Clone keeps the
// answer when a client copies the command to send it elsewhere.
func (once) NoRetry() bool        { return true }
func (o once) Clone() redis.Cmder { return once{o.Cmd.Clone().(*redis.Cmd)} }

// putOnce runs a script without the client's retries. A Put that was done must
// not be done again: meanwhile its entries may have been handed out.
func (s *Store) putOnce(ctx context.Context, key string, args []any) error {
	return taught(func(whole bool) error {
		return s.client.Process(ctx, once{putScript.command(ctx, whole, s.names(key), args)})
	})
}

// remove runs a script that removes, with the client's retries: if the reply
// to the first was lost, so are its entries, and the second has others. With
// Options.Replicas it returns what so many replicas know to be removed.
func (s *Store) remove(ctx context.Context, c *script, key string, args []any) (reply any, err error) {
	if s.opts.Replicas > 0 {
		return s.removeEverywhere(ctx, c, key, args)
	}
	err = taught(func(whole bool) error {
		cmd := c.command(ctx, whole, s.names(key), args)
		err := s.client.Process(ctx, cmd)
		reply = cmd.Val()
		return err
	})
	return reply, err
}

// patiently runs f and returns when the context is done even if f does not: the
// client listens to a context between commands, and not always to its end. What
// f brings later is dropped, so a Take that was given up may lose entries. A
// context that cannot end costs no goroutine.
func patiently[T any](ctx context.Context, f func() (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	if ctx.Done() == nil {
		return f()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // at the same time
		return r.value, r.err
	default:
		return zero, ctx.Err()
	}
}
