package resume

import (
	"slices"
	"sync"
	"time"
)

// A descent is how a session comes from a full handshake. It bounds the life of
// what is chained by resumptions (rule N11), which nothing else here ends: each
// resumed connection is sent the next ticket.
type descent struct {
	fullHandshake time.Time
	resumptions   int
	stored        bool // a TLS 1.2 session that is in the store, where it stays
	removed       bool // it was revoked while it was being resumed
}

// descentOf is asked when the next ticket is made. Where the connection is not
// known it is asked before that, when the session is taken, and a revocation in
// between is not seen: the ticket made then leads nowhere all the same.
func descentOf(s *session) descent {
	v, i := s.verdict.Load(), s.info()
	return descent{
		fullHandshake: i.FullHandshake, resumptions: i.Resumptions,
		stored: v == stored, removed: v.status() == Removed,
	}
}

// chains joins, for connections that are not known, the session that a
// handshake resumed with the one it is sent. crypto/tls does both in one
// handshake, without saying in which. What it does say is alike for few
// handshakes, and of those the oldest descent is dealt out first. So two at the
// same instant may swap theirs, but no descent is lost, nor made younger
// without another being made older.
type chains struct {
	mu   sync.Mutex // guards open
	open []opened   // by when they began
}

// A chainKey is what is the same when crypto/tls unwraps and when it wraps.
type chainKey struct {
	view    *serverView
	name    string
	version uint16
	client  string // hash of its certificate
}

// An opened is a handshake between its UnwrapSession and its WrapSession.
type opened struct {
	key chainKey
	descent
	at time.Time
}

const (
	maxOpenChains = 256
	openChainTime = time.Minute // a handshake that is not done by then has failed
)

// begin notes that a handshake is about to resume. Not every one comes to its
// end, which crypto/tls does not tell: it may decline the session, or fail. So
// what is too old goes, and at the bound the oldest.
func (c *chains) begin(key chainKey, d descent, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stale := 0 // those that crypto/tls did not resume
	for stale < len(c.open) && (now.Sub(c.open[stale].at) > openChainTime || len(c.open)-stale >= maxOpenChains) {
		stale++
	}
	clear(c.open[:stale]) // what lies in front of a slice is kept alive
	c.open = append(c.open[stale:], opened{key, d, now})
}

// end is the descent for what that handshake sends. Above the bound one may be
// lost: its chain then counts from now.
func (c *chains) end(key chainKey, now time.Time) descent {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := -1
	for i := range c.open {
		if c.open[i].key == key && (oldest < 0 || c.open[i].fullHandshake.Before(c.open[oldest].fullHandshake)) {
			oldest = i
		}
	}
	if oldest < 0 {
		return descent{fullHandshake: now}
	}
	d := c.open[oldest].descent
	c.open = slices.Delete(c.open, oldest, oldest+1)
	d.resumptions++
	return d
}
