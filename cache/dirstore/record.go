package dirstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// A file holds one entry, integers in big endian:
//
//	struct {
//		uint8  magic[4] = "tdr1";
//		uint32 checksum;  // CRC-32C of the names of directory and file,
//		                  // and of all that follows
//		int64  expires;   // milliseconds since 1970; 0: never
//		uint32 key_length;
//		uint32 id_length;
//		opaque key[key_length];
//		opaque id[id_length];
//		opaque value[];   // the rest
//	} entry;
//
// The checksum finds damage, so that a Take goes on to the next entry; against
// an attacker the caller seals the value. Because it covers the names, a copy
// or a link of a file under another name is damaged, and no entry comes twice.
//
// A change of this format changes the magic and the form of the file names, so
// that either version leaves the other's files alone.
const (
	magic     = "tdr1"
	sumAt     = len(magic)
	bodyAt    = sumAt + 4
	headerLen = bodyAt + 8 + 4 + 4
)

// maxNames bounds the bytes of key and ID together.
const maxNames = 64 << 10

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errDamaged = errors.New("damaged")
)

// encode is one entry as a file. The names it will have go into its checksum.
func encode(dir string, name fileName, key string, e cache.Entry) []byte {
	b := make([]byte, headerLen, headerLen+len(key)+len(e.ID)+len(e.Value))
	copy(b, magic)
	binary.BigEndian.PutUint64(b[bodyAt:], uint64(millis(e.Expires)))
	binary.BigEndian.PutUint32(b[bodyAt+8:], uint32(len(key)))
	binary.BigEndian.PutUint32(b[bodyAt+12:], uint32(len(e.ID)))
	b = append(append(append(b, key...), e.ID...), e.Value...)
	binary.BigEndian.PutUint32(b[sumAt:], checksum(dir, name, b))
	return b
}

// decode reads what encode has written. The entry's value aliases b.
func decode(dir string, name fileName, b []byte) (key string, e cache.Entry, err error) {
	if len(b) < headerLen || string(b[:sumAt]) != magic ||
		binary.BigEndian.Uint32(b[sumAt:]) != checksum(dir, name, b) {
		return "", cache.Entry{}, errDamaged
	}
	expires := int64(binary.BigEndian.Uint64(b[bodyAt:]))
	keyLen := uint64(binary.BigEndian.Uint32(b[bodyAt+8:]))
	idLen := uint64(binary.BigEndian.Uint32(b[bodyAt+12:]))
	rest := b[headerLen:]
	if keyLen+idLen > uint64(len(rest)) { // as 64 bits it cannot overflow
		return "", cache.Entry{}, errDamaged
	}
	key, rest = string(rest[:keyLen]), rest[keyLen:]
	e.ID, e.Value = string(rest[:idLen]), rest[idLen:len(rest):len(rest)]
	// As the name says, which the checksum covers, and without its limit.
	if expires != 0 {
		e.Expires = time.UnixMilli(expires)
	}
	return key, e, nil
}

// checksum leaves out the magic and itself.
func checksum(dir string, name fileName, b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(dir))
	sum = crc32.Update(sum, castagnoli, []byte(name))
	return crc32.Update(sum, castagnoli, b[bodyAt:])
}

// millis is an expiry as a file has it. What ends in or before 1970 is never
// written, so that 0 is free to mean never.
func millis(expires time.Time) int64 {
	if expires.IsZero() {
		return 0
	}
	return expires.UnixMilli()
}
