package cachetest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tlsresume/tlsresume/cache"
)

// memory is a store that is right and obvious: a slice under a lock, the oldest
// entry first. Two of them on the same disk are two openings of one store.
//
// Its faults make it wrong, each in one way. The zero value has none.
type memory struct {
	*disk
	max int // entries per key; 0: any number
	faults
}

type disk struct {
	mu   sync.Mutex
	keys map[string][]cache.Entry
}

func newMemory(max int, f faults) *memory {
	return &memory{disk: &disk{keys: make(map[string][]cache.Entry)}, max: max, faults: f}
}

func (m *memory) Put(ctx context.Context, key string, entries ...cache.Entry) error {
	if err := m.context(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key = m.key(key)
	if m.reverses {
		entries = slices.Clone(entries)
		slices.Reverse(entries)
	}
	for _, e := range entries {
		e.Value = m.copy(e.Value)
		e.Expires = m.round(e.Expires)
		e.ID = m.id(e.ID)
		m.add(key, e)
	}
	return nil
}

func (m *memory) add(key string, e cache.Entry) {
	i := m.find(key, e.ID)
	switch {
	case i < 0:
		m.keys[key] = append(m.keys[key], e)
	case m.doubles:
		m.keys[key] = append(m.keys[key], e)
	case m.keepsPlace:
		m.keys[key][i] = e
	case m.keepsOld:
	default:
		m.keys[key] = append(slices.Delete(m.keys[key], i, i+1), e)
	}
	if m.max > 0 && len(m.keys[key]) > m.max {
		i := 0
		if m.dropsNewest {
			i = m.max
		}
		m.keys[key] = slices.Delete(m.keys[key], i, i+1)
	}
}

func (m *memory) Take(ctx context.Context, key string, max int) ([]cache.Entry, error) {
	err := m.context(ctx)
	if err != nil && !m.losesOnCancel {
		return nil, err
	}
	if max < 1 {
		if !m.takesNone {
			return nil, errors.New("memory: max below 1")
		}
		max = 1
	}
	taken := m.take(m.key(key), max+m.extra)
	if err != nil {
		return nil, err
	}
	if len(taken) == 0 && !m.hidesMiss {
		return nil, cache.ErrMiss
	}
	return taken, nil
}

func (m *memory) take(key string, max int) (taken []cache.Entry) {
	now := time.Now()
	for len(taken) < max {
		m.mu.Lock()
		m.expire(key, now)
		list := m.keys[key]
		if len(list) == 0 {
			m.mu.Unlock()
			break
		}
		e := list[m.pick(len(list))]
		if m.looksThenTakes { // as two calls to a server would
			m.mu.Unlock()
			runtime.Gosched()
			m.mu.Lock()
		}
		if i := m.find(key, e.ID); i >= 0 && !m.twice() {
			m.keys[key] = slices.Delete(m.keys[key], i, i+1)
		}
		m.mu.Unlock()
		e.Value = m.copy(e.Value)
		taken = append(taken, e)
	}
	return taken
}

func (m *memory) Delete(ctx context.Context, key, id string) (bool, error) {
	if err := m.context(ctx); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key, id = m.key(key), m.id(id)
	if !m.deletesExpired {
		m.expire(key, time.Now())
	}
	i := m.find(key, id)
	if i < 0 {
		return m.deletesAll, nil
	}
	if m.deletesLater {
		m.mu.Unlock()
		runtime.Gosched()
		m.mu.Lock()
		if i = m.find(key, id); i < 0 {
			return true, nil
		}
	}
	m.keys[key] = slices.Delete(m.keys[key], i, i+1)
	return !m.deletesSilently, nil
}

func (m *memory) Clear(ctx context.Context) error {
	if err := m.context(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.keys {
		if key != "" || !m.clearsNamed {
			delete(m.keys, key)
		}
	}
	return nil
}

func (m *memory) List(ctx context.Context) iter.Seq2[cache.Listed, error] {
	return func(yield func(cache.Listed, error) bool) {
		if err := m.context(ctx); err != nil {
			yield(cache.Listed{}, err)
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for key, list := range m.keys {
			if !m.listsExpired {
				m.expire(key, time.Now())
				list = m.keys[key]
			}
			for _, e := range slices.Clone(list) {
				if !yield(cache.Listed{Key: key, ID: e.ID, Size: len(e.Value), Expires: e.Expires}, nil) && !m.listsOn {
					return
				}
			}
			if m.listTakes {
				delete(m.keys, key)
			}
		}
	}
}

func (m *memory) find(key, id string) int {
	return slices.IndexFunc(m.keys[key], func(e cache.Entry) bool { return e.ID == id })
}

func (m *memory) expire(key string, now time.Time) {
	if !m.immortal {
		m.keys[key] = slices.DeleteFunc(m.keys[key], func(e cache.Entry) bool { return e.Expired(now) })
	}
}

func (m *memory) pick(n int) int {
	if m.oldestFirst {
		return 0
	}
	return n - 1
}

func (m *memory) context(ctx context.Context) error {
	if m.ignoresContext {
		return nil
	}
	return ctx.Err()
}

func (m *memory) copy(value []byte) []byte {
	if m.shares {
		return value
	}
	return bytes.Clone(value)
}
