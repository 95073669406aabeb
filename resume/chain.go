package resume

import "time"

// The ways in that cannot join a ticket to a handshake count a chain of
// resumptions (rule N11) per key, by the instant at which it ends, which is
// noted in the pool. It begins with the first ticket and, once its time is over,
// anew with the first miss, for a miss makes a full handshake. A connection
// resumed before that miss may bring its ticket after it, which then passes for
// one of the new chain, once.

// chain is when the chain of a key began, of which another ticket has come now.
// Both are in Unix nanoseconds. An end later than that of a chain that begins now
// was noted before the clock was set back, or by a version with longer chains.
func (c *core) chain(key serverKey, maxAge time.Duration, now int64) int64 {
	end, latest := c.pool.Note(key), now+int64(maxAge)
	if end == 0 || end > latest {
		end = latest
		c.pool.SetNote(key, end)
	}
	return end - int64(maxAge)
}

// continueChain sees to it that the next ticket of a key is not taken for one of
// a later chain than that of a session that was handed out: it was noted in
// another way, or by another process.
func (c *core) continueChain(key serverKey, s *session) {
	end := s.fullHandshake + int64(s.maxChainAge())
	if known := c.pool.Note(key); known == 0 || known > end {
		c.pool.SetNote(key, end)
	}
}

// endChain is for a miss.
func (c *core) endChain(key serverKey, now time.Time) {
	if end := c.pool.Note(key); end != 0 && end <= now.UnixNano() {
		c.pool.SetNote(key, 0)
	}
}

// maxChainAge is how long sessions like this one may descend from one full
// handshake. In TLS 1.2 a resumed connection brings a new ticket for the old
// master secret.
func (s *session) maxChainAge() time.Duration {
	if s.reusable() {
		return min(s.core().maxChainAge, maxSessionAge)
	}
	return s.core().maxChainAge
}
