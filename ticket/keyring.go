package ticket

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A sealed value in the language of RFC 8446, Section 3:
//
//	struct {
//	    uint8 revision = 1;
//	    opaque salt[32];
//	    opaque nonce[12];
//	    opaque ciphertext[length of the plain bytes];
//	    opaque tag[16];
//	} Sealed;
//
// It is AES-256-GCM under a key of its own, with this as associated data:
//
//	struct {
//	    uint8 revision = 1;
//	    opaque key<0..2^64-1>;
//	    opaque id<0..2^64-1>;
//	    uint64 expires;    /* milliseconds since 1970 in two's complement,
//	                          rounded down */
//	} Associated;
//
// Whatever changes here is a new revision. The keys come from the 32 bytes of
// the user by HKDF-SHA256 (RFC 5869), without a salt:
//
//	index  = HKDF-Expand(PRK, "tlsresume keyring 1 index", 32)
//	id     = HKDF-Expand(PRK, "tlsresume keyring 1 id", 32)
//	seal   = HKDF-Expand(PRK, "tlsresume keyring 1 seal", 32)
//	record = HKDF-Expand(seal, "tlsresume record 1" || salt, 32)
//
// A random nonce alone would allow 2^32 values under one key (NIST SP 800-38D,
// Section 8.3), which a fleet reaches. With a random key for each value two
// must share all of 352 random bits to do harm. The nonce is random all the
// same, as that is what FIPS 140-3 approves without a counter.
//
// GCM does not commit to its key: who knows two keys can make a value that
// opens under both. Who knows one of a keyring's can make any value anyway, so
// Open may try one key after the other.

const (
	sealRevision = 1
	saltSize     = 32
	sealOverhead = 1 + saltSize + 12 + 16

	labelIndex  = "tlsresume keyring 1 index"
	labelID     = "tlsresume keyring 1 id"
	labelSeal   = "tlsresume keyring 1 seal"
	labelRecord = "tlsresume record 1"
)

// ErrOpen is the one error of [Keyring.Open]. It does not say whether key,
// value, place or expiry was the wrong one: to the caller all are a miss, and
// to whoever tampers with a store any answer is one too many.
var ErrOpen = errors.New("ticket: sealed value does not open")

// Keyring seals records for a store, and names them there so that the store
// does not show whose they are. What it does not hide is how many there are,
// how long they are and when they expire.
//
// All its methods are safe for concurrent use. A nil Keyring and the zero value
// have no key: they open nothing, name nothing and refuse to seal; the zero
// value can be given keys by Set. A Keyring must not be copied after first use.
// However it is printed it shows no more than the number of its keys.
type Keyring struct {
	// Replaced as a whole. Calls that began before Set still work with the
	// old ones, which is why Set does not wipe them.
	derived atomic.Pointer[[]derived]
}

// derived is what comes of one key of the user.
type derived struct{ index, id, seal []byte }

// NewKeyring returns a keyring of these keys: the first seals, all open. Each
// must be 32 bytes of a random source such as crypto/rand, not a password. It
// fails for no key at all, for a zero key and for the same key twice. The keys
// themselves are not kept and may be wiped.
func NewKeyring(keys ...[32]byte) (*Keyring, error) {
	k := new(Keyring)
	if err := k.Set(keys...); err != nil {
		return nil, err
	}
	return k, nil
}

// Set replaces the keys, for calls that begin after it, under the conditions
// of NewKeyring. On an error nothing changes.
//
// To rotate keys among several processes, first add the new key behind the
// others everywhere, then make it the first everywhere, and drop the old ones
// once what they sealed has expired. A process that skipped the first step
// would miss what the others seal. What a dropped key sealed, and what is
// filed under its index, is lost. A record that was named before Set and
// sealed after it, each with another key, opens while both are there.
func (k *Keyring) Set(keys ...[32]byte) error {
	if k == nil {
		return errors.New("ticket: nil keyring")
	}
	if err := validate(keys); err != nil {
		return err
	}
	ring := make([]derived, len(keys))
	for i := range keys {
		var err error
		if ring[i], err = derive(keys[i][:]); err != nil {
			return fmt.Errorf("ticket: keyring: %w", err)
		}
	}
	k.derived.Store(&ring)
	return nil
}

// Indexes returns the store keys of a label, such as the name of a scope with
// that of a server: the one to file records under, of the first key, and then
// those where records filed under the other keys are. Each is an HMAC-SHA256
// in 43 characters of A-Z, a-z, 0-9, - and _, the same in every process with
// the same key. Without keys there are none.
func (k *Keyring) Indexes(label []byte) []string { return k.IndexesOf(label)[0] }

// IndexesOf returns the Indexes of each label, all with the same keys: a Set
// comes before or after, and not in between.
func (k *Keyring) IndexesOf(labels ...[]byte) [][]string {
	ring := k.ring()
	all := make([][]string, len(labels))
	for n, label := range labels {
		all[n] = make([]string, len(ring))
		for i := range ring {
			all[n][i] = name(ring[i].index, label, sha256.Size)
		}
	}
	return all
}

// ID returns the name of a ticket's entry in a store: 22 characters of the
// same alphabet that cannot be computed from the ticket alone, so that nobody
// can match entries with tickets seen on the wire. It comes from the first key
// and changes with it: to find an entry again, keep its id. Without keys it is
// empty.
func (k *Keyring) ID(ticket []byte) string {
	ring := k.ring()
	if len(ring) == 0 {
		return ""
	}
	return name(ring[0].id, ticket, 16) // 2^64 tickets for two of one name
}

// Seal encrypts and authenticates plain with the first key, for the entry of
// that store key, id and expiry: it opens for no other. The expiry counts in
// milliseconds, rounded down, as a store may keep no more of it. The result is
// 61 bytes longer than plain; two of the same plain bytes differ. It fails
// only without keys.
//
// Neither plain nor the result is kept. Wipe plain if nobody needs it.
func (k *Keyring) Seal(key, id string, expires time.Time, plain []byte) ([]byte, error) {
	ring := k.ring()
	if len(ring) == 0 {
		return nil, errors.New("ticket: keyring without keys")
	}
	sealed := make([]byte, 1+saltSize, sealOverhead+len(plain))
	sealed[0] = sealRevision
	rand.Read(sealed[1:]) // never fails, see its documentation
	aead, err := ring[0].aead(sealed[1:])
	if err != nil {
		return nil, fmt.Errorf("ticket: sealing: %w", err)
	}
	return aead.Seal(sealed, nil, plain, associated(key, id, expires)), nil
}

// Open returns the plain bytes of what Seal made with any of the keys for the
// same store key, id and expiry (to the millisecond). Its error is ErrOpen and
// nothing else. It does not look at a clock: an expiry that is past is the
// caller's to notice. The sealed bytes are left as they are and not kept; the
// plain ones are the caller's, to be wiped after use.
func (k *Keyring) Open(key, id string, expires time.Time, sealed []byte) ([]byte, error) {
	if len(sealed) < sealOverhead || sealed[0] != sealRevision {
		return nil, ErrOpen
	}
	salt, rest := sealed[1:1+saltSize], sealed[1+saltSize:]
	data := associated(key, id, expires)
	plain := make([]byte, 0, len(sealed)-sealOverhead)
	for _, d := range k.ring() {
		aead, err := d.aead(salt)
		if err != nil {
			return nil, ErrOpen
		}
		if plain, err := aead.Open(plain, nil, rest, data); err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}

// String says how many keys there are.
func (k *Keyring) String() string {
	n := len(k.ring())
	if n == 1 {
		return "Keyring(1 key)"
	}
	return fmt.Sprintf("Keyring(%d keys)", n)
}

// GoString is String in the form of %#v.
func (k *Keyring) GoString() string { return "ticket." + k.String() }

// Format writes String for every verb, and GoString for %#v.
func (k *Keyring) Format(f fmt.State, verb rune) { format(f, verb, k) }

// LogValue is String for log/slog.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// ring is the keys that a call works with, from its begin to its end.
func (k *Keyring) ring() []derived {
	if k == nil {
		return nil
	}
	if ring := k.derived.Load(); ring != nil {
		return *ring
	}
	return nil
}

// validate names keys by their position, the only thing safe to say of them.
func validate(keys [][32]byte) error {
	if len(keys) == 0 {
		return errors.New("ticket: keyring: no key")
	}
	for i := range keys {
		if keys[i] == [32]byte{} {
			return fmt.Errorf("ticket: keyring: key %d is zero", i)
		}
		for j := range i {
			if keys[i] == keys[j] {
				return fmt.Errorf("ticket: keyring: keys %d and %d are the same", j, i)
			}
		}
	}
	return nil
}

// derive makes a key for each purpose, so that none says anything of another.
func derive(key []byte) (d derived, err error) {
	prk, err := hkdf.Extract(sha256.New, key, nil)
	if err != nil {
		return d, err
	}
	defer clear(prk)
	for _, purpose := range []struct {
		key   *[]byte
		label string
	}{{&d.index, labelIndex}, {&d.id, labelID}, {&d.seal, labelSeal}} {
		*purpose.key, err = hkdf.Expand(sha256.New, prk, purpose.label, 32)
		if err != nil {
			return derived{}, err
		}
	}
	return d, nil
}

// aead is the cipher for the value with that salt. It draws and prepends the
// nonce itself, the only kind that fips140=only admits.
func (d derived) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, d.seal, labelRecord+string(salt), 32)
	if err != nil {
		return nil, err
	}
	defer clear(key) // the cipher has its own schedule, out of our reach
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// associated is what a sealed value is tied to besides its key. With a length
// before each string no byte of one can pass for one of the other.
func associated(key, id string, expires time.Time) []byte {
	b := make([]byte, 0, 1+8+len(key)+8+len(id)+8)
	b = append(b, sealRevision)
	for _, s := range []string{key, id} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(expires.UnixMilli()))
}

// name is the first size bytes of an HMAC as text.
func name(key, of []byte, size int) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(of)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:size])
}
