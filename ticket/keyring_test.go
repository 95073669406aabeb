package ticket

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
)

// Keys for tests; the n-th is n, n+1, n+2...
func testKey(n byte) (key [32]byte) {
	for i := range key {
		key[i] = n + byte(i)
	}
	return key
}

func ringOf(t testing.TB, numbers ...byte) *Keyring {
	t.Helper()
	var keys [][32]byte
	for _, n := range numbers {
		keys = append(keys, testKey(n))
	}
	return must(NewKeyring(keys...))
}

var expiry = time.UnixMilli(1_800_000_000_123)

func seal(t testing.TB, k *Keyring, plain string) []byte {
	t.Helper()
	return must(k.Seal("key", "id", expiry, []byte(plain)))
}

// opens reports whether k opens what was sealed by seal, as it was.
func opens(t testing.TB, k *Keyring, sealed []byte, plain string) bool {
	t.Helper()
	got, err := k.Open("key", "id", expiry, sealed)
	if err != nil {
		requireErrOpen(t, got, err)
		return false
	}
	require.Equal(t, plain, string(got))
	return true
}

// requireErrOpen holds that the error is the very value: nothing is wrapped
// around it that could say more.
func requireErrOpen(t testing.TB, plain []byte, err error) {
	t.Helper()
	if err != ErrOpen || plain != nil {
		t.Fatalf("error %v, plain %x; want ErrOpen itself and nothing", err, plain)
	}
}

func TestWhatIsSealedOpensInItsPlace(t *testing.T) {
	k := ringOf(t, 1)
	for _, plain := range []string{"", "a", strings.Repeat("long ", 1<<16)} {
		sealed := seal(t, k, plain)
		require.Len(t, sealed, len(plain)+sealOverhead)
		before := bytes.Clone(sealed)
		require.True(t, opens(t, k, sealed, plain))
		require.True(t, opens(t, k, sealed, plain), "a second time")
		require.Equal(t, before, sealed, "Open changed its argument")
	}
}

func TestTwoSealsOfTheSameDiffer(t *testing.T) {
	k, plain := ringOf(t, 1), strings.Repeat("the same ", 30)
	one, other := seal(t, k, plain), seal(t, k, plain)
	require.NotEqual(t, one[1:1+saltSize], other[1:1+saltSize], "salt, and so the key")
	require.NotEqual(t, one[1+saltSize:][:12], other[1+saltSize:][:12], "nonce")
	for at := 1; at+6 <= len(one); at++ {
		require.False(t, bytes.Contains(other, one[at:at+6]), "the same at %d", at)
	}
}

func TestEveryAssociatedFieldCounts(t *testing.T) {
	k := ringOf(t, 1)
	sealed := must(k.Seal("key", "id", expiry, []byte("plain")))
	for _, c := range []struct {
		why     string
		key, id string
		expires time.Time
		opens   bool
	}{
		{"its own place", "key", "id", expiry, true},
		{"the same millisecond", "key", "id", expiry.Add(999_999), true},
		{"the same instant elsewhere", "key", "id", expiry.In(time.FixedZone("", 3600)), true},
		{"another key", "kez", "id", expiry, false},
		{"another id", "key", "ie", expiry, false},
		{"no key", "", "id", expiry, false},
		{"no id", "key", "", expiry, false},
		{"later", "key", "id", expiry.Add(time.Millisecond), false},
		{"earlier", "key", "id", expiry.Add(-1), false},
		{"never", "key", "id", time.Time{}, false},
		{"key and id exchanged", "id", "key", expiry, false},
		{"a byte of the key in the id", "ke", "yid", expiry, false},
		{"a byte of the id in the key", "keyi", "d", expiry, false},
		{"all in the key", "keyid", "", expiry, false},
		{"all in the id", "", "keyid", expiry, false},
	} {
		plain, err := k.Open(c.key, c.id, c.expires, sealed)
		if c.opens {
			require.NoError(t, err, c.why)
			require.Equal(t, "plain", string(plain), c.why)
			continue
		}
		requireErrOpen(t, plain, err)
	}
}

func TestAssociatedDataIsUnambiguous(t *testing.T) {
	seen := make(map[string]bool)
	parts := []string{"", "\x00", "a", "ab", strings.Repeat("\x00", 8), "\x00\x00\x00\x00\x00\x00\x00\x01"}
	for _, key := range parts {
		for _, id := range parts {
			for _, at := range []time.Time{{}, time.UnixMilli(0), time.UnixMilli(1), expiry} {
				data := string(associated(key, id, at))
				require.False(t, seen[data], "%q %q %v", key, id, at)
				seen[data] = true
			}
		}
	}
}

func TestEachFlippedBitKeepsItShut(t *testing.T) {
	k := ringOf(t, 1, 2)
	sealed := seal(t, k, "plain bytes")
	for bit := range 8 * len(sealed) {
		sealed[bit/8] ^= 1 << (bit % 8)
		plain, err := k.Open("key", "id", expiry, sealed)
		requireErrOpen(t, plain, err)
		sealed[bit/8] ^= 1 << (bit % 8)
	}
	require.True(t, opens(t, k, sealed, "plain bytes"), "the test does not test")
}

func TestNoPrefixAndNothingLongerOpens(t *testing.T) {
	k := ringOf(t, 1)
	sealed := seal(t, k, "plain bytes")
	for n := range sealed {
		require.False(t, opens(t, k, sealed[:n:n], ""), "%d bytes", n)
	}
	require.False(t, opens(t, k, append(bytes.Clone(sealed), 0), ""))
	require.False(t, opens(t, k, nil, ""))
}

func TestOnlyAKeyringWithTheKeyOpens(t *testing.T) {
	for _, c := range []struct {
		why          string
		seals, opens []byte
		want         bool
	}{
		{"the same", []byte{1}, []byte{1}, true},
		{"another", []byte{1}, []byte{2}, false},
		{"the first seals", []byte{1, 2}, []byte{1}, true},
		{"the second does not", []byte{1, 2}, []byte{2}, false},
		{"all open: the last", []byte{3}, []byte{1, 2, 3}, true},
		{"all open: the middle", []byte{2}, []byte{1, 2, 3}, true},
		{"none of several", []byte{4}, []byte{1, 2, 3}, false},
	} {
		sealed := seal(t, ringOf(t, c.seals...), "plain")
		require.Equal(t, c.want, opens(t, ringOf(t, c.opens...), sealed, "plain"), c.why)
	}
}

// Two processes rotate one after the other, in the three steps that Set names;
// at no point does one miss what the other files and seals.
func TestRotationInThreeStepsMissesNothing(t *testing.T) {
	label, oldKey, newKey := []byte("label"), testKey(1), testKey(2)
	a, b := ringOf(t, 1), ringOf(t, 1)
	ask := func(writer, reader *Keyring) {
		index := writer.Indexes(label)[0]
		require.Contains(t, reader.Indexes(label), index)
		sealed := must(writer.Seal(index, "id", expiry, []byte("plain")))
		plain, err := reader.Open(index, "id", expiry, sealed)
		require.NoError(t, err)
		require.Equal(t, "plain", string(plain))
	}
	first := seal(t, a, "of the beginning")
	for _, keys := range [][][32]byte{{oldKey, newKey}, {newKey, oldKey}} {
		for _, k := range []*Keyring{a, b} {
			require.NoError(t, k.Set(keys...))
			ask(a, b)
			ask(b, a)
			require.True(t, opens(t, k, first, "of the beginning"))
		}
	}
	require.NoError(t, a.Set(newKey))
	require.False(t, opens(t, a, first, ""), "dropped")
	require.Len(t, a.Indexes(label), 1)
	ask(a, b)
}

func TestIndexesAreOfAllKeysInTheirOrder(t *testing.T) {
	label := []byte("label")
	one, two, three := ringOf(t, 1).Indexes(label), ringOf(t, 2).Indexes(label), ringOf(t, 3).Indexes(label)
	require.Equal(t, append(append(two, three...), one...), ringOf(t, 2, 3, 1).Indexes(label))
	require.NotEqual(t, one, ringOf(t, 1).Indexes([]byte("label2")))
	require.NotEqual(t, one, ringOf(t, 1).Indexes(nil))
}

func TestNamesAreFitForAnyStore(t *testing.T) {
	safe := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	k := ringOf(t, 1)
	for n := range 64 {
		in := bytes.Repeat([]byte{byte(n)}, 37*n)
		index, id := k.Indexes(in)[0], k.ID(in)
		require.Regexp(t, safe, index+id)
		require.Len(t, index, 43)
		require.Len(t, id, 22)
		require.NotContains(t, index, id, "index and id have keys of their own")
	}
}

// Whoever saw a ticket on the wire must not find its entry.
func TestIDIsNoPlainHash(t *testing.T) {
	ticket := []byte("a ticket")
	sum := sha256.Sum256(ticket)
	got := ringOf(t, 1).ID(ticket)
	require.NotEqual(t, base64.RawURLEncoding.EncodeToString(sum[:16]), got)
	require.NotEqual(t, got, ringOf(t, 2).ID(ticket))
	require.Equal(t, got, ringOf(t, 1, 2).ID(ticket), "of the first key")
	require.NotEqual(t, got, ringOf(t, 1).ID([]byte("b ticket")))
}

func TestNothingPlainIsInASealedRecord(t *testing.T) {
	id := newIdentity(t, ecdsaKey(), 2)
	r := recordOf(sessionOf(t, id, nil))
	k := ringOf(t, 1)
	label := []byte(r.Scope + "\x00" + r.Server)
	key, entry := k.Indexes(label)[0], k.ID(r.Ticket)
	plain := must(r.MarshalBinary())
	stored := string(must(k.Seal(key, entry, r.Expires, plain))) + key + entry
	for why, secret := range map[string][]byte{
		"ticket": r.Ticket, "secret": field(t, r.State, "secret").Bytes(), "record": plain,
		"name": []byte(serverName), "scope": []byte(r.Scope), "endpoint": []byte(r.Endpoint),
		"certificate": id.chain[0],
	} {
		require.GreaterOrEqual(t, len(secret), 6, "the test does not test")
		require.False(t, reveals(stored, secret), why)
	}
	for _, secret := range [][]byte{r.Ticket, field(t, r.State, "secret").Bytes(), []byte(serverName)} {
		require.True(t, reveals(string(plain), secret), "the test of the test")
	}
}

func TestKeysThatProtectNothingAreRefused(t *testing.T) {
	for _, c := range []struct {
		why, want string
		keys      [][32]byte
	}{
		{"none", "ticket: keyring: no key", nil},
		{"zero", "ticket: keyring: key 0 is zero", [][32]byte{{}}},
		{"zero behind others", "ticket: keyring: key 2 is zero", [][32]byte{testKey(1), testKey(2), {}}},
		{"twice", "ticket: keyring: keys 0 and 1 are the same", [][32]byte{testKey(1), testKey(1)}},
		{"twice, behind another", "ticket: keyring: keys 1 and 2 are the same", [][32]byte{testKey(1), testKey(2), testKey(2)}},
		{"twice, apart", "ticket: keyring: keys 0 and 2 are the same", [][32]byte{testKey(1), testKey(2), testKey(1)}},
	} {
		t.Run(c.why, func(t *testing.T) {
			k, err := NewKeyring(c.keys...)
			require.EqualError(t, err, c.want)
			require.Nil(t, k)
			k = ringOf(t, 7)
			sealed, names := seal(t, k, "plain"), k.Indexes(nil)
			require.EqualError(t, k.Set(c.keys...), c.want)
			require.True(t, opens(t, k, sealed, "plain"), "on an error nothing changes")
			require.Equal(t, names, k.Indexes(nil))
		})
	}
}

func TestKeyringWithoutKeysDoesNothingAndDoesNotPanic(t *testing.T) {
	sealed := seal(t, ringOf(t, 1), "plain")
	for _, k := range []*Keyring{nil, new(Keyring)} {
		b, err := k.Seal("key", "id", expiry, []byte("plain"))
		require.EqualError(t, err, "ticket: keyring without keys")
		require.Nil(t, b)
		plain, err := k.Open("key", "id", expiry, sealed)
		requireErrOpen(t, plain, err)
		require.Empty(t, k.Indexes([]byte("label")))
		require.Empty(t, k.ID([]byte("ticket")))
		require.Equal(t, "Keyring(0 keys)", k.String())
	}
	var none *Keyring
	require.EqualError(t, none.Set(testKey(1)), "ticket: nil keyring")
	zero := new(Keyring)
	require.NoError(t, zero.Set(testKey(1)))
	require.True(t, opens(t, zero, sealed, "plain"))
}

func TestKeysMayBeWipedOnceTheyAreGiven(t *testing.T) {
	keys := [][32]byte{testKey(1), testKey(2)}
	k := must(NewKeyring(keys...))
	require.Equal(t, testKey(1), keys[0], "not ours to wipe")
	clear(keys)
	require.True(t, opens(t, k, seal(t, ringOf(t, 2), "plain"), "plain"))
}

// Each call works with one set of keys, whichever it is.
func TestKeyringIsReplacedWhileInUse(t *testing.T) {
	k := ringOf(t, 1, 2)
	stop := make(chan struct{})
	var users, setter sync.WaitGroup
	setter.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				k.Set(testKey(2), testKey(1))
				k.Set(testKey(1), testKey(2), testKey(3))
			}
		}
	})
	for range 3 {
		users.Go(func() {
			for range 200 {
				sealed, err := k.Seal("key", "id", expiry, []byte("plain"))
				if err != nil {
					t.Error(err)
				}
				plain, err := k.Open("key", "id", expiry, sealed)
				if err != nil || string(plain) != "plain" {
					t.Errorf("%q, error %v", plain, err)
				}
				if n := len(k.Indexes([]byte("label"))); n != 2 && n != 3 {
					t.Errorf("%d indexes of two keyrings", n)
				}
				_ = k.String() + k.ID([]byte("ticket"))
			}
		})
	}
	users.Wait()
	close(stop)
	setter.Wait()
}

// What was filed must be found, and what was sealed must open, by every
// version to come. The strings were computed by another implementation of
// HMAC and HKDF (Python's hmac).
func TestNamesNeverChange(t *testing.T) {
	k := ringOf(t, 1)
	require.Equal(t, []string{"NRjM-K_NawD8KtMbmHziJnT_DSDKsRijTsUqShvFly0"}, k.Indexes([]byte("a label")))
	require.Equal(t, "uFMConXiz1swiqit1FQ_iA", k.ID([]byte("a ticket")))
}

func TestSealedValuesOfRevision1Open(t *testing.T) {
	file := filepath.Join("testdata", "keyring", "sealed-1")
	k := ringOf(t, 1)
	if *update {
		cryptotest.SetGlobalRandom(t, 1)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		sealed := seal(t, k, "sealed by revision 1")
		require.NoError(t, os.WriteFile(file, sealed, 0o644))
		for name, seed := range map[string][]byte{
			"sealed": sealed, "truncated": sealed[:len(sealed)-1], "empty": nil,
			"revision-2": append([]byte{2}, sealed[1:]...), "shortest": make([]byte, sealOverhead),
		} {
			writeSeed(t, "FuzzOpen", name, seed)
		}
	}
	require.True(t, opens(t, k, must(os.ReadFile(file)), "sealed by revision 1"))
}

// The comment above ErrOpen says how; this says it a second time, without
// crypto/hkdf.
func TestSealingIsAsItsCommentSays(t *testing.T) {
	mac := func(key []byte, parts ...string) []byte {
		h := hmac.New(sha256.New, key)
		for _, part := range parts {
			h.Write([]byte(part))
		}
		return h.Sum(nil)
	}
	key := testKey(1)
	prk := mac(make([]byte, 32), string(key[:]))
	sealed := seal(t, ringOf(t, 1), "plain")
	salt, nonce, rest := sealed[1:33], sealed[33:45], sealed[45:]
	record := mac(mac(prk, "tlsresume keyring 1 seal", "\x01"), "tlsresume record 1", string(salt), "\x01")
	data := append([]byte{1}, "\x00\x00\x00\x00\x00\x00\x00\x03key\x00\x00\x00\x00\x00\x00\x00\x02id"...)
	data = binary.BigEndian.AppendUint64(data, 1_800_000_000_123)
	gcm := must(cipher.NewGCM(must(aes.NewCipher(record))))
	plain, err := gcm.Open(nil, nonce, rest, data)
	require.NoError(t, err)
	require.Equal(t, "plain", string(plain))
	require.Equal(t, byte(1), sealed[0])
}

// With GODEBUG=fips140=only Go refuses what FIPS 140-3 does not approve, such
// as a nonce that GCM did not draw itself. It must be set at the start.
func TestKeyringWorksWhereOnlyFIPSIsAllowed(t *testing.T) {
	if !fips140.Enforced() {
		fipsOnly(t)
		return
	}
	_, err := cipher.NewGCM(must(aes.NewCipher(make([]byte, 32))))
	require.Error(t, err, "nothing is enforced")
	t.Run("names", TestNamesNeverChange)
	t.Run("values of elsewhere", TestSealedValuesOfRevision1Open)
	t.Run("values", TestWhatIsSealedOpensInItsPlace)
	t.Run("rotation", TestRotationInThreeStepsMissesNothing)
	t.Run("records", TestRecordsOfRevision1StayReadable)
	t.Log("fips140=only: done")
}

// fipsOnly runs the same test where it is enforced.
func fipsOnly(t *testing.T) {
	run := func(args ...string) (string, error) {
		cmd := exec.Command(must(os.Executable()), args...)
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("-test.run=^$"); err != nil {
		t.Skipf("this build has no FIPS 140-3 mode: %s", out)
	}
	out, err := run("-test.v", "-test.run=^"+t.Name()+"$")
	require.NoError(t, err, out)
	require.Contains(t, out, "fips140=only: done")
}

// Labels that belong together are looked up with the same keys, whatever Set
// does meanwhile.
func TestIndexesOfSeveralLabelsAreOfOneMoment(t *testing.T) {
	one, two := [32]byte{1}, [32]byte{2}
	ring := must(NewKeyring(one))
	want := map[string]string{}
	for _, key := range [][32]byte{one, two} {
		k := must(NewKeyring(key))
		want[k.Indexes([]byte("a"))[0]] = k.Indexes([]byte("b"))[0]
	}
	stop := make(chan bool)
	done := make(chan bool)
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				ring.Set([][][32]byte{{one}, {two}, {two, one}}[n%3]...)
			}
		}
	}()
	for range 5000 {
		both := ring.IndexesOf([]byte("a"), []byte("b"))
		require.Len(t, both[1], len(both[0]))
		for i, a := range both[0] {
			require.Equal(t, want[a], both[1][i])
		}
	}
	close(stop)
	<-done
}
