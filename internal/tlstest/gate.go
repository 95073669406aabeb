package tlstest

import "sync"

// A Gate holds connections back until as many as expected have come. It is
// open at first; it is safe for concurrent use.
type Gate struct {
	mu      sync.Mutex // guards the rest
	missing int
	open    chan struct{} // closed when nobody is missing
}

// Expect closes the gate until so many have come. Who waits goes on.
func (g *Gate) Expect(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release()
	if n > 0 {
		g.missing, g.open = n, make(chan struct{})
	}
}

// Wait notes that one has come, and waits for the others.
func (g *Gate) Wait() {
	if open := g.arrive(); open != nil {
		<-open
	}
}

func (g *Gate) arrive() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	open := g.open
	if g.missing--; g.missing <= 0 {
		g.release()
	}
	return open
}

// release opens the gate. It runs under the lock.
func (g *Gate) release() {
	if g.open != nil {
		close(g.open)
	}
	g.missing, g.open = 0, nil
}
