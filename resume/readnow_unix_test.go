//go:build unix

package resume

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

func TestReadNowReadsWhatIsThereAndDoesNotWait(t *testing.T) {
	for network, address := range map[string]string{
		"tcp":  "127.0.0.1:0",
		"unix": filepath.Join(t.TempDir(), "socket"),
	} {
		t.Run(network, func(t *testing.T) {
			ours, theirs := connected(t, network, address)
			b := make([]byte, 8)

			n, err := readNow(ours, b)
			require.Zero(t, n)
			require.Equal(t, errPause, err)

			_, err = theirs.Write([]byte("data"))
			require.NoError(t, err)
			awaitReadable(t, ours)
			n, err = readNow(ours, b)
			require.NoError(t, err)
			require.Equal(t, "data", string(b[:n]))

			require.NoError(t, theirs.Close())
			awaitReadable(t, ours)
			n, err = readNow(ours, b)
			require.Zero(t, n)
			require.Equal(t, io.EOF, err)

			require.NoError(t, ours.Close())
			_, err = readNow(ours, b)
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

func TestReadNowLooksIntoBareSocketsOnly(t *testing.T) {
	ours, _ := tlstest.Pipe()
	_, err := readNow(struct{ net.Conn }{ours}, make([]byte, 1))
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// connected are the two ends of a connection.
func connected(t *testing.T, network, address string) (ours, theirs net.Conn) {
	t.Helper()
	listener, err := net.Listen(network, address)
	require.NoError(t, err)
	defer listener.Close()
	ours, err = net.Dial(network, listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { ours.Close() })
	theirs, err = listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// awaitReadable waits until data or an end have arrived, and leaves them there.
func awaitReadable(t *testing.T, conn net.Conn) {
	t.Helper()
	socket, err := conn.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, socket.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN && err != syscall.EINTR
	}))
}
