package resume

import "time"

// What the zero value of ClientCache means, and the limits that no field sets.
const (
	defaultMaxServers       = 1024
	defaultTicketsPerServer = 64
	defaultMaxBytes         = 64 << 20
	defaultMaxChainAge      = 7 * 24 * time.Hour
	maxMaxChainAge          = 100 * 365 * 24 * time.Hour // more cannot be added to a date

	// maxTicketAge is the longest a TLS 1.3 ticket may be kept, whatever its
	// lifetime says (RFC 8446, Section 4.6.1; rule N1).
	maxTicketAge = 7 * 24 * time.Hour

	// maxSessionAge is the same for TLS 1.2, whose sessions carry no lifetime
	// (RFC 5246, Appendix F.1.4; rule N20).
	maxSessionAge = 24 * time.Hour

	// maxTicketSize is the longest ticket, in bytes, that is offered. A longer
	// one makes a ClientHello that peers, and from 65 000 bytes on crypto/tls
	// itself, cannot take.
	maxTicketSize = 16 << 10

	// clockSlack is how far the clock may stand before the time of receipt. A
	// ticket's age is taken from whole seconds and sent to the server (rule
	// T15), so a clock that went back further would send nonsense.
	clockSlack = 2 * time.Second

	// maxReceived is how many of the sessions it received a connection holds
	// on to, the newest ones.
	maxReceived = 64

	// maxSpaces is how many different configurations of one scope its
	// accessors search, and maxConfigs how many *tls.Config a scope knows by
	// their address; more are read again at every connection.
	maxSpaces  = 64
	maxConfigs = 16

	// maxEndpoints is of how many addresses of one server sessions are kept.
	maxEndpoints = 64

	// foreignPause is how long no session of one endpoint is offered to
	// another of the same server, after one was refused there: they do not
	// share their ticket keys.
	foreignPause = 10 * time.Minute

	// After backOffAfter resumed handshakes in a row that failed although the
	// server answered, no session is offered for backOffFirst, and twice as
	// long each time the next attempt fails, too, up to backOffMost.
	backOffAfter = 3
	backOffFirst = 10 * time.Second
	backOffMost  = 10 * time.Minute

	// doubtAfter is how many handshakes in a row may fail with a TLS 1.2
	// session, for whatever reason, before it is offered no more. That costs
	// one full handshake.
	doubtAfter = 8

	// drainTime is how long Close looks for tickets, whatever comes. drainWait
	// is how long it waits for a first ticket, if the round trip of the
	// handshake took no longer than drainRoundTrip; if that took half as long
	// again as to connect, it waits twice as long as the round trip. It reads
	// at most about maxDrain bytes of application data on the way. nearestTime
	// is for how long the least time to connect to an endpoint is believed.
	drainTime      = 30 * time.Millisecond
	drainWait      = time.Millisecond
	drainRoundTrip = 5 * time.Millisecond
	maxDrain       = 256 << 10
	nearestTime    = 10 * time.Minute

	// warmParallel is how many connections Dialer.Warm makes at a time, and
	// warmPatience how long each waits for its first ticket.
	warmParallel = 8
	warmPatience = time.Second

	// maxReadAhead is how many bytes of application data WaitSession keeps,
	// and readAheadSize how many it reads at a time.
	maxReadAhead  = 64 << 10
	readAheadSize = 4 << 10

	// takeDeadline is how long a handshake waits for the store, writeDeadline
	// how long a call of the store may take when nobody waits, and
	// closeDeadline how long Close does.
	takeDeadline  = 50 * time.Millisecond
	writeDeadline = 5 * time.Second
	closeDeadline = 2 * time.Second

	// A store that failed breakAfter times in a row is not asked for breakFirst,
	// and twice as long each time the next attempt fails, too, up to breakMost.
	breakAfter = 3
	breakFirst = time.Second
	breakMost  = 30 * time.Second

	// nearIdle is how long after the last handshake the sessions of a server
	// stay in the near tier, and nearPause how long a store that had none for
	// it is not asked again behind a handshake.
	nearIdle  = time.Minute
	nearPause = 100 * time.Millisecond

	// maxQueued is how many sessions wait to be written; more stay in memory
	// until Flush. maxBatch is how many go to the store, or come from it, in
	// one call.
	maxQueued = 1024
	maxBatch  = 64

	// maxRounds is how often a fetch asks again after the store handed out
	// what cannot be used.
	maxRounds = 8

	// What the zero value of ServerCache means.
	defaultMaxSessions    = 100_000
	defaultServerMaxBytes = 256 << 20
	defaultServerLifetime = 24 * time.Hour

	// maxServerConfigs is how many *tls.Config a ServerCache knows by their
	// address.
	maxServerConfigs = 1024

	// sessionOverhead is what a server's session takes in memory besides its
	// encoding, and certificateFactor how many times its encoding a session
	// with parsed certificates does, both in round figures (measured: 975 bytes
	// in all; 2.7 to 3.1 KB for a leaf of 361 to 564).
	sessionOverhead   = 1 << 10
	certificateFactor = 6

	// maxStoreCalls is how many calls of the store a ServerCache makes at a
	// time. After maxLateCalls in a row that were too slow for a handshake
	// nobody waits for another for storePause.
	maxStoreCalls = 64
	maxLateCalls  = 4
	storePause    = time.Second
)
