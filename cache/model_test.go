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
// by when they came, each with its values from the oldest to the newest.
type model struct {
	maxKeys, maxPerKey int
	keys               []*modelKey
	hand               *modelKey // nil: at the oldest
	dropped            []int
}

type modelKey struct {
	name    byte
	touched bool
	values  []modelValue
}

type modelValue struct {
	v       int
	expires time.Time
}

func (m *model) find(name byte) *modelKey {
	for _, k := range m.keys {
		if k.name == name {
			return k
		}
	}
	return nil
}

func (m *model) put(name byte, v int, expires time.Time) {
	k := m.find(name)
	if k == nil {
		if len(m.keys) == m.maxKeys {
			m.evict()
		}
		k = &modelKey{name: name}
		m.keys = append(m.keys, k)
	} else {
		k.touched = true
	}
	k.values = append(k.values, modelValue{v, expires})
	if len(k.values) > m.maxPerKey {
		m.dropped = append(m.dropped, k.values[0].v)
		k.values = k.values[1:]
	}
}

// evict walks the hand from the oldest key to the newest and around.
func (m *model) evict() {
	at := max(0, slices.Index(m.keys, m.hand))
	for {
		k := m.keys[at]
		if !k.touched || len(k.values) == 0 {
			for _, v := range k.values {
				m.dropped = append(m.dropped, v.v)
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

func (m *model) take(name byte, now time.Time, want func(int) bool) (int, bool) {
	k := m.find(name)
	if k == nil {
		return 0, false
	}
	k.touched = true
	for i := len(k.values) - 1; i >= 0; i-- {
		v := k.values[i]
		switch {
		case !now.Before(v.expires):
			m.dropped = append(m.dropped, v.v)
			k.values = slices.Delete(k.values, i, i+1)
		case want(v.v):
			k.values = slices.Delete(k.values, i, i+1)
			return v.v, true
		}
	}
	return 0, false
}

func (m *model) sweep(now time.Time) (n int) {
	for _, k := range slices.Clone(m.keys) {
		k.values = slices.DeleteFunc(k.values, func(v modelValue) bool {
			gone := !now.Before(v.expires)
			if gone {
				m.dropped = append(m.dropped, v.v)
				n++
			}
			return gone
		})
		if len(k.values) == 0 {
			m.forget(k)
		}
	}
	return n
}

func (m *model) items() (n int) {
	for _, k := range m.keys {
		n += len(k.values)
	}
	return n
}

// run plays operations, three bytes each, on the pool and on the model.
func run(t *testing.T, ops []byte) {
	m := &model{maxKeys: 4, maxPerKey: 3}
	var dropped []int
	p := cache.NewPool(cache.Options[byte, int]{
		MaxKeys: m.maxKeys, MaxPerKey: m.maxPerKey,
		Dropped: func(_ byte, v int, _ cache.Cause) { dropped = append(dropped, v) },
	})
	for n := 0; len(ops) >= 3; n, ops = n+1, ops[3:] {
		key, arg := ops[1]%7, ops[2]
		now := noon.Add(time.Duration(n) * time.Minute)
		switch ops[0] % 5 {
		case 0, 1:
			expires := now.Add(time.Duration(arg%16) * time.Minute)
			p.Put(key, cache.Item[int]{Value: n, Size: 1, Expires: expires})
			m.put(key, n, expires)
		case 2, 3:
			want := func(v int) bool { return arg < 128 || v%2 == int(arg%2) }
			got, ok := p.Take(key, now, func(v int) cache.Verdict {
				if want(v) {
					return cache.Take
				}
				return cache.Skip
			})
			expected, there := m.take(key, now, want)
			require.Equal(t, there, ok, "operation %d", n)
			require.Equal(t, expected, got.Value, "operation %d", n)
		case 4:
			require.Equal(t, m.sweep(now), p.Sweep(now), "operation %d", n)
		}
		require.Equal(t, m.items(), p.Usage().Items, "operation %d", n)
		require.Equal(t, sorted(m.dropped), sorted(dropped), "operation %d", n)
	}
}

func TestPoolBehavesAsItsModel(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 3*200)
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
	f.Fuzz(func(t *testing.T, ops []byte) { run(t, ops[:min(len(ops), 1500)]) })
}
