package redisstore

import "strings"

// The names of a key of the store in Redis:
//
//	namespace:{=key}:ids
//	namespace:{=key}:records
//
// What is in braces is the hash tag: it alone decides the slot of a cluster, so
// that both names are in one. A tag must not be empty nor have a brace in it:
// hence the equals sign, and the escapes. The namespace is escaped as well, or
// a brace of its own would begin a tag in front of this one.
const (
	tagBegin      = ":{="
	indexSuffix   = "}:ids"
	recordsSuffix = "}:records"
)

// names are what scripts call KEYS.
func (s *Store) names(key string) []string {
	tag := s.begin + escape(key)
	return []string{tag + indexSuffix, tag + recordsSuffix}
}

// keyOf is the key that has an index of this name. What escape would not have
// written, such as a name that somebody else chose alike, is no key of ours.
func (s *Store) keyOf(index string) (key string, ok bool) {
	tag, ok := strings.CutPrefix(index, s.begin)
	if !ok {
		return "", false
	}
	if tag, ok = strings.CutSuffix(tag, indexSuffix); !ok {
		return "", false
	}
	key = unescape(tag)
	return key, escape(key) == tag
}

// pattern matches the namespace's names with such an end, for SCAN.
func (s *Store) pattern(suffix string) string { return glob.Replace(s.begin) + "*" + suffix }

var (
	escaper   = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")
	unescaper = strings.NewReplacer("%25", "%", "%7B", "{", "%7D", "}")
	glob      = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "^", `\^`, "-", `\-`)
)

// escape writes a key so that it has no brace; unescape reads it. A percent
// sign is escaped as well, or two keys could be written alike.
func escape(s string) string   { return escaper.Replace(s) }
func unescape(s string) string { return unescaper.Replace(s) }
