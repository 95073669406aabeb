package cache

// drops collects what a call dropped until its lock is released: Dropped may
// call the pool. It lives on the caller's stack, and the first few need no
// memory of their own. Mostly there are no more.
type drops[K comparable, V any] struct {
	n     int
	few   [2]dropped[K, V]
	spill []dropped[K, V]
}

type dropped[K comparable, V any] struct {
	key   K
	value V
	why   Cause
}

// add runs under the shard's lock. The key is copied, as the node may be
// another key's by the time somebody is told.
func (d *drops[K, V]) add(key K, value V, why Cause) {
	if d.n < len(d.few) {
		d.few[d.n] = dropped[K, V]{key, value, why}
	} else {
		d.spill = append(d.spill, dropped[K, V]{key, value, why})
	}
	d.n++
}

func (d *drops[K, V]) len() int { return d.n }

func (d *drops[K, V]) at(i int) *dropped[K, V] {
	if i < len(d.few) {
		return &d.few[i]
	}
	return &d.spill[i-len(d.few)]
}

// tell runs in the goroutine whose call dropped, and under no lock.
func (p *Pool[K, V]) tell(out *drops[K, V]) {
	if out.n > 0 && p.opts.Dropped != nil {
		p.tellFrom(0, out)
	}
}

// tellFrom tells of all drops from the one at i on, also if Dropped panics in
// between: whoever counts references would lose those of the others. The panic
// goes on to the caller when all are told.
func (p *Pool[K, V]) tellFrom(i int, out *drops[K, V]) {
	defer func() {
		if i < out.len() {
			p.tellFrom(i+1, out)
		}
	}()
	for ; i < out.len(); i++ {
		d := out.at(i)
		p.opts.Dropped(d.key, d.value, d.why)
	}
}
