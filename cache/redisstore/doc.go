// Package redisstore is a [cache.Store] in Redis, for processes on many
// machines: one server, a primary with replicas that sentinels watch, or a
// cluster, by way of any client of go-redis that is a redis.UniversalClient.
//
// Each call is one Lua script and one round trip. What it does, order, bounds
// and expiry included, is one step, which no other client's can come between.
//
// # At most once
//
// A take removes in Redis before it hands out. What could bring an entry back
// is a Redis that forgets a removal, and there are two ways in which it may: a
// server that dies comes back with what it last had on disk, and a replica that
// is promoted lacks what it had not been sent. Replication is asynchronous, so
// every failover can do so.
//
// Therefore, by default, entries end with the life of the server that took them
// in. A life is a replication ID: Redis makes a new one when a server starts
// and when one is promoted, and it is no part of the data. An entry of a life
// that is over is never handed out, and is removed when it is met. So after a
// restart, from whatever file, and after a failover, whatever was lost, the
// pool begins empty, and nothing comes twice; two servers that both take
// themselves for the primary share no entry either. It costs tickets, and no
// round trip.
//
// A life also ends when a server's first replica connects, and when it has had
// none for an hour (repl-backlog-ttl). In a cluster, a slot that moves to
// another node leaves its life behind.
//
// With Options.Survive entries outlive all this, on the caller's word that no
// removal is ever forgotten. With Options.Replicas, Take, Delete and Clear wait
// (WAIT) until so many replicas have applied it, and otherwise fail: what they
// have removed is then lost. A call that removes nothing returns at once, and
// leaves its connection to the WAIT. This is what holds:
//
//	                              by default     Survive          Survive, Replicas n
//	a client dies, a reply is     never twice    never twice      never twice
//	lost, a command is repeated
//	restart with what was on disk never twice,   twice, unless    twice, unless
//	                              pool empties   appendfsync is   appendfsync is
//	                                             always           always, or it has
//	                                                              no file (save "",
//	                                                              appendonly no)
//	failover                      never twice,   twice            never twice if the
//	                              pool empties                    promoted replica was
//	                                                              among the n: surely
//	                                                              if n is all of them;
//	                                                              pool stays
//	two primaries for a while     never twice    twice            never twice, as above
//	fewer than n replicas         -              -                takes fail
//	a server's memory is          twice          twice            twice
//	restored or cloned while it
//	runs (virtual machines)
//
// A replica that acknowledges and then itself restarts with an old file, before
// it is promoted, has forgotten as well. The servers' min-replicas-to-write
// makes the window of "twice" smaller, to some seconds, and closes it nowhere.
//
// # Retries
//
// go-redis sends a command again when the connection breaks, and so does not
// know how often it was done. A Take that was done twice has lost entries, no
// more. A Put that was done twice would bring back what others have taken in
// between, so Put is never sent again: its error says whether it is certain
// that nothing was stored (cache.ErrNotStored), and it is when no connection
// could be made or the server refused. A proxy in front of Redis that repeats
// commands by itself takes this promise away.
//
// Every call returns when its context is done, also with a client that does not
// set ContextTimeoutEnabled; the command then ends in the background, within
// the client's own timeouts.
//
// # Memory
//
// A key of the store is two keys of Redis, in one slot of a cluster:
//
//	tlsresume:{=key}:ids        sorted set: ID, sequence
//	tlsresume:{=key}:records    hash: ID, expiry and value; the life they belong to
//
// Both expire with the last of their entries; expired entries among others go
// when a call comes across them, the oldest with each Put. A key has at most
// Options.MaxPerKey entries, and all together are bounded by the server's
// maxmemory. Any policy will do: of a key that lacks one of its two names
// nothing is there. With noeviction Put fails and Take goes on.
//
// # Servers
//
// Tested with Redis 7.0. The scripts need Redis 5 (ZPOPMAX) and a user who may
// INFO; Valkey has the same commands and was not run. The clock is the
// server's: clients whose clock is ahead of it see entries live longer, by as
// much.
//
// A redis.Ring looks for a key elsewhere while one of its servers is away: what
// that server has is missed then and is there again later, and Delete does not
// find it. Clear and List fail meanwhile.
package redisstore
