package dirstore

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"
)

// digits are base32 digits that sort as their values do and that no file system
// takes for one another, whatever it makes of case.
const digits = "0123456789abcdefghijklmnopqrstuv"

var base = base32.NewEncoding(digits).WithPadding(base32.NoPadding)

// A key's directory is named by the first 160 bits of the key's SHA-256.
const keyNameLen = 32

// keyName is the name of a key's directory. Any key has one, of one length, and
// no two have the same: 160 bits of a hash do not collide by chance, and a
// collision costs a miss, as the record names its key.
func keyName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base.EncodeToString(sum[:20])
}

// isKeyName is false for whatever else somebody may have put there.
func isKeyName(s string) bool { return len(s) == keyNameLen && isDigits(s) }

// A fileName is the name of an entry's file:
//
//	sequence "-" expiry "-" id "-" nonce
//
//	sequence  11 digits  place in the key's order: microseconds since 1970, or
//	                     one more than the newest that was there, if that is more
//	expiry    10 digits  milliseconds since 1970; 0: never
//	id        16 digits  the first 80 bits of the ID's SHA-256
//	nonce      5 digits  random, so that no name is used twice
//
// It says all that is needed to choose an entry, so that none must be opened
// for that. It is short because a directory of 64 of them then fits into one
// block of 4 KiB, which makes ext4 list it in 10 us less than in two.
//
// Names of one key sort by sequence. A name is used once: otherwise who has
// read the file, but not yet removed it, might remove a successor of the same
// name and hand out what another has handed out before. Should two IDs of one
// key share their 80 bits (by chance one key in 2^68), the newer replaces the
// older.
type fileName string

const (
	seqLen, expiryLen, idLen, nonceLen = 11, 10, 16, 5

	expiryAt    = seqLen + 1
	idAt        = expiryAt + expiryLen + 1
	nonceAt     = idAt + idLen + 1
	fileNameLen = nonceAt + nonceLen

	// What so many digits of 5 bits hold.
	maxSeq    = 1<<(5*seqLen) - 1    // in the year 3111
	maxExpiry = 1<<(5*expiryLen) - 1 // in the year 37648; later is as good
)

// tmpSuffix marks a file that is being written. Its name without it is the one
// that it will have.
const tmpSuffix = ".tmp"

// newFileName is the name of an entry to be written. Numbers too large for
// their digits are cut to the largest: a name must keep its form, or nobody
// would find the file again.
func newFileName(seq uint64, expires int64, id idName, nonce uint32) fileName {
	var b strings.Builder
	b.Grow(fileNameLen)
	b.WriteString(number(min(seq, maxSeq), seqLen))
	b.WriteByte('-')
	b.WriteString(number(expiryOf(expires), expiryLen))
	b.WriteByte('-')
	b.WriteString(string(id))
	b.WriteByte('-')
	b.WriteString(number(uint64(nonce), nonceLen))
	return fileName(b.String())
}

// isFileName looks at form alone. The other methods cut at fixed places, and
// are for names that have passed it.
func isFileName(s string) bool {
	return len(s) == fileNameLen &&
		s[expiryAt-1] == '-' && s[idAt-1] == '-' && s[nonceAt-1] == '-' &&
		isDigits(s[:seqLen]) && isDigits(s[expiryAt:idAt-1]) &&
		isDigits(s[idAt:nonceAt-1]) && isDigits(s[nonceAt:])
}

// isTmpName is for a file that is being written, or was when its writer died.
func isTmpName(s string) bool {
	s, ok := strings.CutSuffix(s, tmpSuffix)
	return ok && isFileName(s)
}

// seq is the place in the order.
func (n fileName) seq() uint64 { return value(string(n[:seqLen])) }

// id is all that a name tells of the ID: enough to find it and to replace it.
func (n fileName) id() idName { return idName(n[idAt : nonceAt-1]) }

// A moment is a time as a name has it, so that comparing is comparing strings.
type moment string

// momentOf is rounded down as an expiry is, so that at the millisecond of its
// expiry an entry has expired (cache.Entry.Expired).
func momentOf(t time.Time) moment { return moment(number(expiryOf(t.UnixMilli()), expiryLen)) }

// expired compares digits: they are as many on both sides and sort as their
// values do.
func (n fileName) expired(now moment) bool {
	at := moment(n[expiryAt : idAt-1])
	return at <= now && at != "0000000000"
}

// expiryOf is milliseconds as a name has them.
func expiryOf(millis int64) uint64 { return min(uint64(max(millis, 0)), maxExpiry) }

// An idName is an ID as a name has it.
type idName string

// idNameOf hashes, so that an ID of any bytes and length has a name.
func idNameOf(id string) idName {
	sum := sha256.Sum256([]byte(id))
	return idName(base.EncodeToString(sum[:idLen*5/8]))
}

// isDigits reports whether a string has only digits of ours.
func isDigits(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}

// number writes n with so many digits, the highest first.
func number(n uint64, length int) string {
	var b [13]byte // 64 bits in digits of 5
	for i := length - 1; i >= 0; i-- {
		b[i] = digits[n%32]
		n /= 32
	}
	return string(b[:length])
}

// value reads what number has written.
func value(s string) (n uint64) {
	for i := range len(s) {
		c := s[i]
		if c <= '9' {
			n = n*32 + uint64(c-'0')
		} else {
			n = n*32 + uint64(c-'a'+10)
		}
	}
	return n
}
