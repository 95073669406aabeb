package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"time"

	"github.com/tlsresume/tlsresume/resume"
)

// life shows what becomes of one session, with the times since the dial: it is
// pending, resumable, used, and refused when it is offered once more. That it
// was refused is checked, so that the story is never told of a layer it is
// not true of.
func life(out io.Writer, addr string, config *tls.Config) error {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%9s  %s\n", time.Since(began).Round(time.Microsecond), fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(out, "The life of one session:")
	var cache resume.ClientCache
	dialer := &resume.Dialer{Scope: cache.NewScope(), Config: config}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return err
	}
	say("handshake done, no ticket yet: %s", conn.Get0Session().Status())
	if err := exchange(conn); err != nil {
		return err
	}
	session := conn.Get1Session()
	info := session.Info()
	say("ticket received: %v, until %s", session, info.Expires.Format(time.DateTime))

	exactly := *dialer
	exactly.Session = session
	if conn, err = exactly.Dial("tcp", addr); err != nil {
		return err
	}
	say("dialled with it, resumed %t: %s", conn.ConnectionState().DidResume, session.Status())
	conn.Close()
	if _, err = exactly.Dial("tcp", addr); err == nil {
		return fmt.Errorf("a session was used twice")
	}
	say("dialled with it again: %v", err)
	session.Release()
	say("released: %s", session.Status())
	return nil
}
