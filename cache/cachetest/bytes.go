package cachetest

import (
	"strings"

	"github.com/tlsresume/tlsresume/cache"
)

// names are strings that some store might take for one another, or for
// something else than a name: by file system, encoding, length or separator.
// Among them are pairs that differ in case, in Unicode normalization, in what
// follows a NUL, in a trailing dot or blank, and in the byte behind a length at
// which a name might be cut.
func names() []string {
	long := strings.Repeat("long/", 800) // 4000 bytes
	return []string{
		"", "a", "A", "a ", " a", "a\n", "a\x00", "a\x00b", "\x00", "a.",
		".", "..", "../a", "/", "/a", "a/", "a//b", "a/b", `a\b`, "a/../b", "b",
		"*", "?", "a*", "%", "%00", "%2e", "{a}", "{b}", ":", "a:b", "~", "-", "--",
		"CON", "con", "nul.txt", "aux", "COM1", "~1", "LONGNA~1", ".tmp", "a.tmp",
		"\xff", "\xfe", "\ufffd", "\xc3\xa9", "e\u0301", "\u00c9", "ſ", "s", "S", "ß", "ss", "ẞ",
		"a\u200b", "\ufeffa", "0", "00", "-0", "nil", "null",
		long, long + "x", long + "y", strings.ToUpper(long),
		strings.Repeat("\x00", 300), strings.Repeat("\x00", 301),
	}
}

// keysOfAnyBytesStayApart has all keys there at once, each with a value of its
// own, so that two that a store takes for one cannot both be right. The IDs are
// all the same: an ID is unique within its key only.
//
// "Keys and IDs are any strings and values any bytes: empty, with NUL, not
// UTF-8. What differs in one byte is different" (Bytes).
func keysOfAnyBytesStayApart(c *check) {
	s := c.newStore()
	for i, key := range names() {
		c.put(s, key, cache.Entry{ID: "id", Value: []byte{byte(i)}})
	}
	for i, key := range names() {
		got := c.drain(s, key)
		if len(got) != 1 || string(got[0].Value) != string([]byte{byte(i)}) {
			c.Errorf("key %s has %d entries %v, want its own one", short(key), len(got), got)
		}
	}
}

// idsOfAnyBytesStayApart goes through the names in batches: no store must keep
// more than 32 entries under a key. Every two of them meet in some batch.
//
// "It keeps at least 32 entries under a key" (Bounds).
func idsOfAnyBytesStayApart(c *check) {
	s := c.newStore()
	parts := quarters(names())
	for i, a := range parts {
		for _, b := range parts[i+1:] {
			ids := append(append([]string{}, a...), b...)
			for _, id := range ids {
				c.put(s, "k", sample(id))
			}
			c.holds(s, "k", backwards(ids)...)
			// Again, all with one Put, and found by Delete, which looks for
			// an ID and not for the newest.
			c.put(s, "k", samples(ids...)...)
			for _, id := range ids {
				if !c.delete(s, "k", id) {
					c.Errorf("Delete of ID %s, which is there, is false", short(id))
				}
			}
			c.holds(s, "k")
		}
	}
}

// quarters divides a list so that each pair of parts has at most 32.
func quarters(list []string) (parts [][]string) {
	for len(list) > 16 {
		parts, list = append(parts, list[:16]), list[16:]
	}
	return append(parts, list)
}

// keyAndIDDoNotRunTogether has pairs that are one string when they are joined,
// with and without a separator. Whoever joins them makes one entry of two, or
// lets one server's Delete reach another's ticket.
//
// "The same ID under another key is another entry" (Identity).
func keyAndIDDoNotRunTogether(c *check) {
	s := c.newStore()
	pairs := [][2]string{
		{"a", "bc"}, {"ab", "c"}, {"abc", ""}, {"", "abc"},
		{"a", "/b"}, {"a/", "b"}, {"a", "\x00b"}, {"a\x00", "b"}, {"a", ":b"}, {"a:", "b"},
	}
	for _, p := range pairs {
		c.put(s, p[0], sample(p[1]))
	}
	for _, p := range pairs {
		// Twice: the other half of a pair would be found the second time.
		if !c.delete(s, p[0], p[1]) || c.delete(s, p[0], p[1]) {
			c.Errorf("key %q and ID %q are not there exactly once", p[0], p[1])
		}
	}
}

// valuesOfAnyBytesComeBack goes up to the 64 KiB that any store must take. A
// nil value is there and comes back empty: a store that takes it for nothing
// would lose the entry.
//
// "A nil value comes back empty" (Bytes), and "any store allows 4 KiB of key
// and ID and 64 KiB of value" (Bounds).
func valuesOfAnyBytesComeBack(c *check) {
	s := c.newStore()
	all := make([]byte, 64<<10)
	for i := range all {
		all[i] = byte(i ^ i>>8) // every byte, in no short period
	}
	for _, value := range []string{"", "\x00", "\n", "\xff\xfe", "{}", "a\r\nb", string(all[:4096]), string(all)} {
		c.put(s, "k", cache.Entry{ID: "a", Value: []byte(value)})
		c.put(s, "k", cache.Entry{ID: "b"}) // nil
		got := c.drain(s, "k")
		if len(got) != 2 || len(got[0].Value) != 0 || string(got[1].Value) != value {
			c.Errorf("a value of %s came back as %v", short(value), got)
		}
	}
}
