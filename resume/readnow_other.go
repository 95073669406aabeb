//go:build !unix

package resume

import (
	"errors"
	"net"
)

// readNow reads what lies in a socket without waiting, where that can be done.
// Here it cannot, and the caller waits for a moment instead.
func readNow(net.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }
