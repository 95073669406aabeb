package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// A line that reads the same from both ends: openssl s_server -rev reverses.
const line = "level\n"

// Line sends a line and reads it back, from a server that echoes.
func Line(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	back := make([]byte, len(line))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != line {
		return fmt.Errorf("peer: got %q back", back)
	}
	return nil
}

// HTTP makes a request and reads the whole response. The connection stays.
func HTTP(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: server.test\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("peer: got %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
