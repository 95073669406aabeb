package cache_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
)

// A model is the pool with one shard, written to be obvious: keys in a slice
// by when they came, each with its groups, each with its values from the oldest
// to the newest. Values are numbered as they are first put, so that a number is
// also a place in the order.
type model struct {
	maxKeys, maxPerKey, maxGroups int
	forgetEmpty                   bool
	keys                          []*modelKey
	hand                          *modelKey // nil: at the oldest
	dropped                       []gone
}

type modelKey struct {
	name    byte
	touched bool
	note    int64
	groups  map[string][]modelValue // none of them empty
}

type modelValue struct {
	v       int
	expires time.Time
}

// A gone value and why it left other than by a take.
type gone struct {
	v   int
	why cache.Cause
}

func byNumber(a, b modelValue) int { return a.v - b.v }

// idle reports whether a key has nothing to lose.
func (k *modelKey) idle() bool { return len(k.groups) == 0 && k.note == 0 }

func (m *model) find(name byte) *modelKey {
	for _, k := range m.keys {
		if k.name == name {
			return k
		}
	}
	return nil
}

func (m *model) drop(k *modelKey, group string, v modelValue, why cache.Cause) {
	m.dropped = append(m.dropped, gone{v.v, why})
	k.remove(group, v)
}

func (m *model) dropGroup(k *modelKey, group string) {
	for _, v := range slices.Clone(k.groups[group]) {
		m.drop(k, group, v, cache.Evicted)
	}
}

func (k *modelKey) remove(group string, v modelValue) {
	k.groups[group] = slices.DeleteFunc(k.groups[group], func(w modelValue) bool { return w == v })
	if len(k.groups[group]) == 0 {
		delete(k.groups, group)
	}
}

// touch finds a key that is in use, or makes it.
func (m *model) touch(name byte) *modelKey {
	k := m.find(name)
	if k != nil {
		k.touched = true
		return k
	}
	if len(m.keys) == m.maxKeys {
		m.evict()
	}
	k = &modelKey{name: name, groups: map[string][]modelValue{}}
	m.keys = append(m.keys, k)
	return k
}

func (m *model) swapNote(name byte, was, note int64) bool {
	k := m.find(name)
	if k == nil && note == 0 || k != nil && k.note != was || k == nil && was != 0 {
		return k == nil && was == 0
	}
	k = m.touch(name)
	k.note = note
	m.tidy(k)
	return true
}

// tidy is what a take and a note that was changed leave behind.
func (m *model) tidy(k *modelKey) {
	if m.forgetEmpty && k.idle() {
		m.forget(k)
	}
}

func (m *model) note(name byte) int64 {
	if m.find(name) == nil {
		return 0
	}
	return m.touch(name).note
}

func (m *model) forgetNotes(match func(byte) bool) {
	for _, k := range slices.Clone(m.keys) {
		if match(k.name) {
			k.note = 0
		}
		if k.idle() {
			m.forget(k)
		}
	}
}

// put serves a new value and one that is put back alike.
func (m *model) put(name byte, group string, v modelValue) {
	k := m.touch(name)
	k.groups[group] = append(k.groups[group], v)
	slices.SortFunc(k.groups[group], byNumber)
	if values := k.groups[group]; len(values) > m.maxPerKey {
		m.drop(k, group, values[0], cache.Evicted)
	}
	if len(k.groups) > m.maxGroups {
		m.dropGroup(k, k.stalest(group))
	}
}

func (k *modelKey) stalest(keep string) (stalest string) {
	lowest := -1
	for group, values := range k.groups {
		if newest := values[len(values)-1].v; group != keep && (lowest < 0 || newest < lowest) {
			lowest, stalest = newest, group
		}
	}
	return stalest
}

// evict walks the hand from the oldest key to the newest and around.
func (m *model) evict() {
	at := max(0, slices.Index(m.keys, m.hand))
	for {
		k := m.keys[at]
		if !k.touched || k.idle() {
			for group := range k.groups {
				m.dropGroup(k, group)
			}
			m.forget(k)
			return
		}
		k.touched = false
		at = (at + 1) % len(m.keys)
		m.hand = m.keys[at]
	}
}

func (m *model) forget(k *modelKey) {
	at := slices.Index(m.keys, k)
	hand := max(0, slices.Index(m.keys, m.hand))
	next := m.hand
	if hand == at {
		next = nil
		if at+1 < len(m.keys) {
			next = m.keys[at+1]
		}
	}
	m.keys = slices.Delete(m.keys, at, at+1)
	m.hand = next
}

// A placed value is a value with its group.
type placed struct {
	modelValue
	group string
}

// values are those of one group, or of all if it is nil, from the newest to the
// oldest.
func (k *modelKey) values(group *string) (all []placed) {
	for name, values := range k.groups {
		for _, v := range values {
			if group == nil || *group == name {
				all = append(all, placed{v, name})
			}
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return byNumber(b.modelValue, a.modelValue) })
	return all
}

func (m *model) take(name byte, group *string, now time.Time, pick func(int) cache.Verdict) (placed, bool) {
	k := m.find(name)
	if k == nil {
		return placed{}, false
	}
	k.touched = true
	defer m.tidy(k)
	for _, v := range k.values(group) {
		verdict := pick(v.v)
		switch {
		case !now.Before(v.expires):
			m.drop(k, v.group, v.modelValue, cache.Expired)
		case verdict == cache.Take:
			k.remove(v.group, v.modelValue)
			return v, true
		case verdict == cache.Share:
			return v, true
		case verdict == cache.Drop:
			m.drop(k, v.group, v.modelValue, cache.Refused)
		}
	}
	return placed{}, false
}

func (m *model) sweep(why cache.Cause, goes func(placed) bool) (n int) {
	for _, k := range slices.Clone(m.keys) {
		for _, v := range k.values(nil) {
			if goes(v) {
				m.drop(k, v.group, v.modelValue, why)
				n++
			}
		}
		if k.idle() {
			m.forget(k)
		}
	}
	return n
}

func (m *model) usage() (u cache.Usage) {
	for _, k := range m.keys {
		if len(k.groups) > 0 {
			u.Keys++
		}
		u.Items += len(k.values(nil))
	}
	u.Bytes = int64(u.Items) // each has the size 1
	return u
}

// A pair is the pool and the model that must behave alike.
type pair struct {
	t       *testing.T
	pool    *cache.Pool[byte, int]
	model   *model
	dropped []gone
	held    []heldItem // taken, and perhaps put back one day
}

type heldItem struct {
	key    byte
	item   cache.Item[int]
	placed placed
}

func newPair(t *testing.T, forgetEmpty bool) *pair {
	p := &pair{t: t, model: &model{maxKeys: 4, maxPerKey: 2, maxGroups: 3, forgetEmpty: forgetEmpty}}
	p.pool = cache.NewPool(cache.Options[byte, int]{
		MaxKeys: p.model.maxKeys, MaxPerKey: p.model.maxPerKey, MaxGroups: p.model.maxGroups,
		ForgetEmpty: forgetEmpty,
		Dropped:     func(_ byte, v int, why cache.Cause) { p.dropped = append(p.dropped, gone{v, why}) },
	})
	return p
}

func (p *pair) put(key byte, group string, v int, expires time.Time) {
	p.pool.Put(key, cache.Item[int]{Value: v, Group: group, Size: 1, Expires: expires})
	p.model.put(key, group, modelValue{v, expires})
}

// take takes from one group, or from all if it is nil.
func (p *pair) take(key byte, group *string, now time.Time, pick func(int) cache.Verdict) bool {
	var item cache.Item[int]
	var ok bool
	if group == nil {
		item, ok = p.pool.Take(key, now, pick)
	} else {
		item, ok = p.pool.TakeFrom(key, *group, now, pick)
	}
	expected, there := p.model.take(key, group, now, pick)
	require.Equal(p.t, there, ok)
	require.Equal(p.t, expected.v, item.Value)
	require.Equal(p.t, expected.group, item.Group)
	if ok && pick(item.Value) == cache.Take {
		p.held = append(p.held, heldItem{key, item, expected})
	}
	return ok
}

func (p *pair) putBack(i int) {
	if len(p.held) == 0 {
		return
	}
	i %= len(p.held)
	h := p.held[i]
	p.held = slices.Delete(p.held, i, i+1)
	p.pool.Put(h.key, h.item)
	p.model.put(h.key, h.placed.group, h.placed.modelValue)
}

// remove takes a value out by number, which the model knows as a take.
func (p *pair) remove(key byte, v int) {
	match := func(w int) bool { return w == v }
	removed, there := p.model.take(key, nil, time.Time{}, func(w int) cache.Verdict {
		if match(w) {
			return cache.Take
		}
		return cache.Skip
	})
	if there {
		p.model.dropped = append(p.model.dropped, gone{removed.v, cache.Removed})
	}
	require.Equal(p.t, there, p.pool.Remove(key, match))
}

// same holds pool and model against each other, in whatever order a call
// dropped things.
func (p *pair) same() {
	require.Equal(p.t, p.model.usage(), p.pool.Usage())
	require.ElementsMatch(p.t, p.model.dropped, p.dropped)
	p.model.dropped, p.dropped = p.model.dropped[:0], p.dropped[:0]
}

// verdict is that of an operation's argument about a value: mostly Take.
func verdict(arg byte, v int) cache.Verdict {
	if arg < 128 {
		return cache.Take
	}
	return cache.Verdict((v + int(arg)) % 4)
}

// run plays operations, three bytes each, on pools and on their models. The
// bytes are the operation, its key and group, and its argument.
func run(t *testing.T, ops []byte) {
	runOn(newPair(t, false), ops)
	runOn(newPair(t, true), ops)
}

func runOn(p *pair, ops []byte) {
	groups := [5]string{"", "b", "c", "d", "e"}
	now := noon
	for n := 0; len(ops) >= 3; n, ops = n+1, ops[3:] {
		key, group, arg := ops[1]%6, groups[ops[1]/6%5], ops[2]
		now = now.Add(time.Minute)
		pick := func(v int) cache.Verdict { return verdict(arg, v) }
		switch ops[0] % 13 {
		case 0, 1, 5:
			p.put(key, group, n+1, now.Add(time.Duration(arg)*time.Minute))
		case 2, 3:
			p.take(key, nil, now, pick)
		case 4:
			goes := func(v placed) bool { return !now.Before(v.expires) }
			require.Equal(p.t, p.model.sweep(cache.Expired, goes), p.pool.Sweep(now))
		case 6, 7:
			p.take(key, &group, now, pick)
		case 8:
			p.putBack(int(arg))
		case 9:
			p.remove(key, n-int(arg%16))
		case 10:
			was, note := int64(arg/4%4), int64(arg%4)
			if arg < 128 { // as it is
				was = p.model.note(key)
				require.Equal(p.t, was, p.pool.Note(key))
			}
			require.Equal(p.t, p.model.swapNote(key, was, note), p.pool.SwapNote(key, was, note))
		case 11:
			match := func(key byte) bool { return key%4 == arg%4 }
			p.pool.ForgetNotes(match)
			p.model.forgetNotes(match)
		case 12:
			require.Equal(p.t, p.model.note(key), p.pool.Note(key))
		}
		p.same()
	}
	for key := range byte(6) { // what is left stands in the same order
		for p.take(key, nil, now, func(int) cache.Verdict { return cache.Take }) {
		}
	}
	p.same()
	for key := range byte(6) {
		require.Equal(p.t, p.model.note(key), p.pool.Note(key))
	}
}

func TestPoolBehavesAsItsModel(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 3*300)
		for i := range ops {
			ops[i] = byte(random.Uint32())
		}
		t.Logf("seed %d", seed)
		run(t, ops)
	}
}

func FuzzPool(f *testing.F) {
	f.Add([]byte{0, 1, 9, 2, 1, 0})
	f.Add([]byte{0, 0, 9, 0, 1, 9, 0, 2, 9, 0, 3, 9, 2, 0, 0, 0, 4, 9, 0, 5, 9, 4, 0, 0, 2, 5, 0})
	// One key: three groups, all taken in part, a fourth, and what was taken
	// back.
	f.Add([]byte{0, 0, 90, 0, 6, 90, 0, 12, 90, 0, 6, 90, 2, 0, 0, 6, 0, 0, 0, 18, 90, 8, 0, 1, 8, 0, 0, 6, 6, 0, 2, 0, 0})
	f.Add([]byte{0, 6, 90, 0, 12, 90, 0, 6, 90, 0, 6, 90, 3, 0, 129, 7, 12, 130, 8, 0, 0, 9, 0, 4, 4, 0, 0})
	f.Fuzz(func(t *testing.T, ops []byte) { run(t, ops[:min(len(ops), 1500)]) })
}
