package ticket

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"sync"
)

// Certificates are 91 to 95 % of an encoded session (rule T11), and crypto/tls
// writes those that verify the leaf twice: as they were sent, and in each chain
// that they are part of. The compact form of a state holds each once:
//
//	struct {
//	    uint8 certificate;              /* index into the table */
//	    opaque extensions<0..2^16-1>;   /* RFC 8446, Section 4.4.2 */
//	} Entry;
//
//	uint8 Chain<0..2^8-1>;              /* indexes, excluding the leaf */
//
//	opaque Certificate<0..2^24-1>;
//
//	struct {
//	    opaque head<1..2^32-1>;         /* SessionState up to early_data */
//	    Entry certificate_list<0..2^24-1>;
//	    Chain verified_chains<0..2^24-1>;
//	    opaque tail<0..2^32-1>;         /* what follows in SessionState */
//	    uint24 inflated;                /* length of the table, 0..2^20 */
//	    opaque table<0..2^24-1>;        /* Certificates one after the other,
//	                                       RFC 1951; empty for none */
//	} CompactState;
//
// With the table instead of the indexes this is the encoding of crypto/tls
// byte for byte, with whatever later Go releases append to it.
//
// Only certificates are compressed. They are public, so it does no harm that
// the length of the outcome depends on them; the length of a record tells as
// much without it. Ticket, secret and the Extra entries of other layers are
// not compressed, neither with each other nor alone.

// maxCertificates bounds, in bytes, the table and each of the two lists made
// from it. crypto/tls itself reads at most 256 KiB of certificates from a peer
// (crypto/tls/common.go); a session with more is kept verbatim.
const maxCertificates = 1 << 20

// A compact holds the fields of a CompactState. Of these only head and tail are
// secret, and alias what they were taken from.
type compact struct {
	head, list, chains, tail []byte
	inflated                 uint64
	deflated                 []byte
}

// compactState takes apart what crypto/tls encoded. It reports false for what
// it does not know and for what the compact form has no room for; and for
// what crypto/tls would not read back, so that such a state is found out.
func compactState(encoded []byte) (c compact, ok bool) {
	r := reader{b: encoded}
	r.uint(2) // version
	typ := r.uint(1)
	r.uint(2) // cipher suite
	r.uint(8) // created_at
	secret := r.vector(1)
	r.vector(3) // extra
	ems, early := r.uint(1), r.uint(1)
	c.head = encoded[:len(encoded)-len(r.b)]
	list, chains := r.vector(3), r.vector(3)
	c.tail = r.b
	known := !r.bad && len(secret) > 0 && ems <= 1 && early <= 1 &&
		(typ == stateServer || typ == stateClient)
	leafless := len(list) == 0 && (typ == stateClient || len(chains) > 0)
	if !known || leafless || len(list) > maxCertificates || len(chains) > maxCertificates {
		return compact{}, false
	}
	var t table
	if !c.takeList(&t, list) || !c.takeChains(&t, chains) || t.size() > maxCertificates {
		return compact{}, false
	}
	c.inflated, c.deflated = uint64(t.size()), t.deflate()
	return c, true
}

// takeList replaces the certificates of certificate_list by indexes.
func (c *compact) takeList(t *table, list []byte) bool {
	var w writer
	for r := (reader{b: list}); len(r.b) > 0; {
		der, extensions := r.vector(3), r.vector(2)
		index, ok := t.add(der)
		if r.bad || !ok {
			return false
		}
		w.uint(1, index)
		w.vector(2, extensions)
	}
	c.list = w.b
	return true
}

// takeChains replaces the certificates of verified_chains by indexes.
func (c *compact) takeChains(t *table, chains []byte) bool {
	var w writer
	for r := (reader{b: chains}); len(r.b) > 0; {
		var indexes []byte
		for chain := (reader{b: r.vector(3)}); len(chain.b) > 0; {
			index, ok := t.add(chain.vector(3))
			if chain.bad || !ok {
				return false
			}
			indexes = append(indexes, byte(index))
		}
		w.vector(1, indexes)
		if r.bad || w.bad {
			return false
		}
	}
	c.chains = w.b
	return true
}

// compact appends a CompactState.
func (w *writer) compact(c compact) {
	w.vector(4, c.head)
	w.vector(3, c.list)
	w.vector(3, c.chains)
	w.vector(4, c.tail)
	w.uint(3, c.inflated)
	w.vector(3, c.deflated)
}

// size is the length of what the writer appends.
func (c *compact) size() int {
	return 4 + len(c.head) + 3 + len(c.list) + 3 + len(c.chains) + 4 + len(c.tail) + 3 + 3 + len(c.deflated)
}

// compact takes a CompactState and returns the bytes it was made from.
func (r *reader) compact() ([]byte, error) {
	c := compact{ // calls are made in the order of the text
		head: r.vector(4), list: r.vector(3), chains: r.vector(3), tail: r.vector(4),
		inflated: r.uint(3), deflated: r.vector(3),
	}
	if r.bad {
		return nil, fmt.Errorf("%w: state cut off", errRecord)
	}
	t, err := inflate(c.deflated, c.inflated)
	if err != nil {
		return nil, err
	}
	list, okList := c.giveList(t)
	chains, okChains := c.giveChains(t)
	if !okList || !okChains {
		return nil, fmt.Errorf("%w: certificates", errRecord)
	}
	w := writer{b: make([]byte, 0, len(c.head)+3+len(list)+3+len(chains)+len(c.tail))}
	w.b = append(w.b, c.head...)
	w.vector(3, list)
	w.vector(3, chains)
	w.b = append(w.b, c.tail...)
	return w.b, nil
}

// giveList is certificate_list. Few indexes may stand for much: give ends it
// at maxCertificates.
func (c *compact) giveList(t table) ([]byte, bool) {
	var w writer
	for r := (reader{b: c.list}); len(r.b) > 0; {
		index, extensions := r.uint(1), r.vector(2)
		if r.bad || !t.give(&w, index) {
			return nil, false
		}
		w.vector(2, extensions)
	}
	return w.b, true
}

// giveChains is verified_chains, at most maxCertificates of it.
func (c *compact) giveChains(t table) ([]byte, bool) {
	var w, chain writer
	for r := (reader{b: c.chains}); len(r.b) > 0; {
		indexes := r.vector(1)
		if r.bad {
			return nil, false
		}
		chain.b = chain.b[:0]
		for _, index := range indexes {
			if !t.give(&chain, uint64(index)) {
				return nil, false
			}
		}
		w.vector(3, chain.b)
		if len(w.b) > maxCertificates {
			return nil, false
		}
	}
	return w.b, true
}

// A table holds certificates, each once. It aliases what they came from.
type table [][]byte

// add returns the index of the certificate; there is none beyond 255.
func (t *table) add(der []byte) (index uint64, ok bool) {
	for i, known := range *t { // three, as a rule
		if bytes.Equal(known, der) {
			return uint64(i), true
		}
	}
	*t = append(*t, der)
	return uint64(len(*t) - 1), len(*t) <= 1<<8
}

// give appends the certificate of that index, as long as that leaves w within
// maxCertificates.
func (t table) give(w *writer, index uint64) bool {
	if index >= uint64(len(t)) || len(w.b)+3+len(t[index]) > maxCertificates {
		return false
	}
	w.vector(3, t[index])
	return true
}

// size is the length of the table before it is compressed.
func (t table) size() (size int) {
	for _, der := range t {
		size += 3 + len(der)
	}
	return size
}

// A deflater keeps what it compressed last: tickets of one server come in
// rows, with one and the same table, and compressing takes several times as
// long as all else of a record.
type deflater struct {
	to    *flate.Writer
	plain []byte
	out   bytes.Buffer
}

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	// Higher levels make tables 3 to 6 % shorter, in a quarter more time. A
	// reader need not know the level.
	d.to, _ = flate.NewWriter(&d.out, flate.BestSpeed) // fails for no known level
	return d
}}

// deflate compresses the table.
func (t table) deflate() []byte {
	if len(t) == 0 {
		return nil
	}
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	if !t.is(d.plain) {
		plain := writer{b: d.plain[:0]}
		for _, der := range t {
			plain.vector(3, der)
		}
		d.plain = plain.b
		d.out.Reset()
		d.to.Reset(&d.out)
		d.to.Write(d.plain) // neither fails: a Buffer takes all
		d.to.Close()
	}
	return bytes.Clone(d.out.Bytes())
}

// is reports whether plain is the table before it is compressed.
func (t table) is(plain []byte) bool {
	r := reader{b: plain}
	for _, der := range t {
		if !bytes.Equal(r.vector(3), der) || r.bad {
			return false
		}
	}
	return len(r.b) == 0
}

// An inflater keeps what it read last, for the reason that a deflater does.
// Its table is handed out and never written to again.
type inflater struct {
	from     io.ReadCloser // and flate.Resetter
	in       bytes.Reader
	deflated []byte
	table    table
}

var inflaters = sync.Pool{New: func() any {
	i := new(inflater)
	i.from = flate.NewReader(&i.in)
	return i
}}

// inflate is the inverse of deflate, for a table of that size.
func inflate(deflated []byte, size uint64) (table, error) {
	if len(deflated) == 0 && size == 0 {
		return nil, nil
	}
	// Two bits make 258 bytes at best: what claims more is not true, and is
	// not worth the memory it asks for.
	const best = 258 * 8 / 2
	if size > maxCertificates || size > best*uint64(len(deflated)) {
		return nil, fmt.Errorf("%w: table of %d bytes", errRecord, size)
	}
	i := inflaters.Get().(*inflater)
	defer inflaters.Put(i)
	if i.table.size() == int(size) && bytes.Equal(i.deflated, deflated) {
		return i.table, nil
	}
	plain, err := i.read(deflated, int(size))
	if err != nil {
		return nil, fmt.Errorf("%w: table: %w", errRecord, err)
	}
	t, ok := splitTable(plain)
	if !ok {
		return nil, fmt.Errorf("%w: table", errRecord)
	}
	i.deflated, i.table = bytes.Clone(deflated), t
	return t, nil
}

// read inflates all of it to exactly size bytes.
func (i *inflater) read(deflated []byte, size int) ([]byte, error) {
	i.in.Reset(deflated)
	defer i.in.Reset(nil) // the pool must not keep the record
	if err := i.from.(flate.Resetter).Reset(&i.in, nil); err != nil {
		return nil, err
	}
	plain := make([]byte, size)
	if _, err := io.ReadFull(i.from, plain); err != nil {
		return nil, err
	}
	// An io.ByteReader is not read beyond the end of the compressed text.
	if n, err := i.from.Read(make([]byte, 1)); n > 0 || err != io.EOF || i.in.Len() > 0 {
		return nil, fmt.Errorf("not of %d bytes", size)
	}
	return plain, nil
}

// splitTable finds the certificates of a table.
func splitTable(plain []byte) (t table, ok bool) {
	for r := (reader{b: plain}); len(r.b) > 0; {
		t = append(t, r.vector(3))
		if r.bad || len(t) > 1<<8 {
			return nil, false
		}
	}
	return t, true
}
