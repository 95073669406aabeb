package peer

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// Ports from firstPort on are below those that systems give to outgoing
// connections (Linux: 32768, others: 49152). Between the end of a server and
// its restart no connection of a test running beside can get its port.
const (
	firstPort = 20000
	ports     = 12000
)

// given counts the ports tried, from a random one on: no two servers of this
// process get the same while one of them is starting or restarting.
var given atomic.Uint32

func init() { given.Store(rand.Uint32N(ports)) }

// freeAddr is a port that was free a moment ago, at every address: not every
// program can be told to listen at 127.0.0.1 only.
func freeAddr() (string, error) {
	var errs []error
	for range 100 {
		port := strconv.Itoa(firstPort + int(given.Add(1)%ports))
		listener, err := net.Listen("tcp", ":"+port)
		if err == nil {
			return net.JoinHostPort("127.0.0.1", port), listener.Close()
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
