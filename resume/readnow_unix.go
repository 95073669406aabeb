//go:build unix

package resume

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// readNow reads what lies in a socket, and returns errPause if that is
// nothing. It works on bare sockets alone: what wraps one may have reads of
// its own.
//
// A deadline in the past would not do, as it fails before it reads, and one to
// come takes a millisecond to pass (see wire.readWhatIsThere). Go's sockets are
// non-blocking, so the system call returns at once, and to say that it is done
// keeps RawConn.Read from waiting in the poller.
func readNow(conn net.Conn, b []byte) (n int, err error) {
	var socket syscall.RawConn
	switch conn := conn.(type) {
	case *net.TCPConn:
		socket, err = conn.SyscallConn()
	case *net.UnixConn:
		socket, err = conn.SyscallConn()
	default:
		return 0, errors.ErrUnsupported
	}
	if err != nil {
		return 0, err
	}
	var readErr error
	err = socket.Read(func(fd uintptr) bool {
		for {
			n, readErr = syscall.Read(int(fd), b)
			if readErr != syscall.EINTR {
				return true // whatever it was, EAGAIN as well: do not wait
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case readErr == syscall.EAGAIN:
		return 0, errPause
	case readErr != nil:
		return 0, readErr
	case n == 0: // the peer's end, without an error from the system
		return 0, io.EOF
	}
	return n, nil
}
