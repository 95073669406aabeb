package redisstore

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tlsresume/tlsresume/cache"
)

// Options bound a Store and say what it is to survive. Zero is a default; a
// negative number is an error of New. Stores that share a namespace should
// agree on Survive: entries of the other kind are dropped when they are met.
type Options struct {
	// Namespace is what the store's names in Redis begin with; "": tlsresume.
	// Clear and List see one namespace.
	Namespace string

	// MaxPerKey is how many entries a key may have; 0: 64, as many as the
	// memory pool above keeps. How many there are in all is bounded by the
	// servers' maxmemory, see "Memory" above.
	MaxPerKey int

	// MaxValue is the size of a value in bytes above which Put refuses it; 0:
	// 128 KiB, room for a ticket of 16 KiB and two chains of post-quantum
	// certificates.
	MaxValue int

	// Survive lets entries outlive the life of the server that took them in. It
	// is the caller's word that no server comes back, or takes another's place,
	// without the removals that it was told of. See "At most once" above.
	Survive bool

	// Replicas is how many replicas must have applied the removal of an entry
	// before it is handed out; 0: none. It needs Survive, and is of no use
	// without.
	Replicas int

	// ReplicaTimeout is how long Take, Delete and Clear wait for replicas; 0:
	// 25 ms. What they do not hear of by then is lost. It must be less than the
	// client's ReadTimeout, or the client gives up before it, and asks again.
	ReplicaTimeout time.Duration
}

const (
	defaultNamespace = "tlsresume"
	defaultPerKey    = 64
	defaultValue     = 128 << 10
	defaultTimeout   = 25 * time.Millisecond

	// maxNames bounds the bytes of key and ID together.
	maxNames = 16 << 10
)

// A Store keeps entries in Redis. Make one with New. It holds nothing itself
// and needs no Close; the client is the caller's.
type Store struct {
	client redis.UniversalClient
	opts   Options
	begin  string // of the names of all keys
}

var (
	_ cache.Store  = (*Store)(nil)
	_ cache.Lister = (*Store)(nil)
)

// New makes a store of a client: of one server, of a primary that sentinels
// watch, or of a cluster. It does not connect.
func New(client redis.UniversalClient, opts Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: no client")
	}
	if err := opts.fill(); err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	return &Store{client: client, opts: opts, begin: escape(opts.Namespace) + tagBegin}, nil
}

// fill sets the defaults, and refuses what can only be a mistake: to find it at
// the first Put would be to lose tickets without a word.
func (o *Options) fill() error {
	for _, bound := range []struct {
		name     string
		value    *int
		fallback int
	}{
		{"MaxPerKey", &o.MaxPerKey, defaultPerKey},
		{"MaxValue", &o.MaxValue, defaultValue},
		{"Replicas", &o.Replicas, 0},
	} {
		if *bound.value < 0 || *bound.value > math.MaxInt32 {
			return fmt.Errorf("the bound %s is negative or too large", bound.name)
		}
		if *bound.value == 0 {
			*bound.value = bound.fallback
		}
	}
	if o.ReplicaTimeout < 0 {
		return errors.New("the bound ReplicaTimeout is negative")
	}
	if o.ReplicaTimeout == 0 {
		o.ReplicaTimeout = defaultTimeout
	}
	if o.Replicas > 0 && !o.Survive {
		return errors.New("Options.Replicas is of no use without Options.Survive")
	}
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	return nil
}

// String names the namespace.
func (s *Store) String() string { return fmt.Sprintf("redisstore.Store(%s)", s.opts.Namespace) }
