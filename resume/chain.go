package resume

import "time"

// The ways in that cannot join a ticket to a handshake count a chain of
// resumptions (rule N11) per key, by the instant at which it ends, which is
// noted in the pool. It begins with the first ticket and, once its time is
// over, anew with the first miss, for a miss makes a full handshake. A
// connection resumed before that miss may bring its ticket after it, which then
// passes for one of the new chain, once.

// joinChain counts a ticket that has come now in with the chain of its key, and
// returns when that began. Both are in Unix nanoseconds. An end later than that
// of a chain that begins now was noted before the clock was set back, or by a
// version with longer chains.
func (c *core) joinChain(key serverKey, maxAge time.Duration, now int64) int64 {
	latest := now + int64(maxAge)
	return c.endBy(key, latest) - int64(maxAge)
}

// continueChain sees to it that the next ticket of a key is not taken for one
// of a later chain than that of a session that was handed out: it was noted in
// another way, or by another process.
func (c *core) continueChain(key serverKey, s *session) {
	c.endBy(key, s.fullHandshake+int64(s.maxChainAge()))
}

// endBy notes that the chain of a key ends at an instant, unless it ends
// earlier, and returns when it does.
func (c *core) endBy(key serverKey, latest int64) int64 {
	for {
		end := c.pool.Note(key)
		if end != 0 && end <= latest {
			return end
		}
		if c.pool.SwapNote(key, end, latest) {
			return latest
		}
	}
}

// endChain is for a miss.
func (c *core) endChain(key serverKey, now time.Time) {
	if end := c.pool.Note(key); end != 0 && end <= now.UnixNano() {
		c.pool.SwapNote(key, end, 0)
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
