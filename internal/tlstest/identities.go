package tlstest

import (
	"crypto/sha256"
	"sync"
)

// Counts is what servers saw.
type Counts struct {
	Connections int // that sent a ClientHello
	Offered     int // of those, how many offered at least one ticket
	Reused      int // of those, how many offered one that an earlier connection had offered
}

// Identities counts the tickets that connections present, per connection: a
// HelloRetryRequest makes a client present the same one again, which is no
// second use. The zero value is ready; it is safe for concurrent use.
type Identities struct {
	mu     sync.Mutex
	next   int
	first  map[[32]byte]int // the connection that offered a ticket first
	counts Counts
}

// A Presenter is one connection.
type Presenter struct {
	all             *Identities
	id              int
	offered, reused bool
}

// Connection begins a connection.
func (i *Identities) Connection() *Presenter {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.next++
	i.counts.Connections++
	return &Presenter{all: i, id: i.next}
}

// Present notes that the connection offered a ticket. An empty one is none:
// that is what crypto/tls unwraps when a TLS 1.2 client has no ticket.
func (p *Presenter) Present(ticket []byte) {
	if len(ticket) == 0 {
		return
	}
	sum := sha256.Sum256(ticket)
	i := p.all
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.first == nil {
		i.first = make(map[[32]byte]int)
	}
	if !p.offered {
		p.offered = true
		i.counts.Offered++
	}
	first, known := i.first[sum]
	if !known {
		i.first[sum] = p.id
		return
	}
	if first != p.id && !p.reused {
		p.reused = true
		i.counts.Reused++
	}
}

// Counts is a snapshot.
func (i *Identities) Counts() Counts {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts
}

// Reset forgets everything, for the next workload.
func (i *Identities) Reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.first, i.counts = nil, Counts{}
}
