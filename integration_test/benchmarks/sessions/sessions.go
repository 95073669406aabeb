// Package sessions makes TLS 1.3 sessions of many servers without a handshake
// with each: from the encoding of one.
package sessions

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

const host = "server-0000000.example.com"

// Name is that of a server, always of one length.
func Name(server int) string { return fmt.Sprintf("server-%07d.example.com", server) }

// A Source makes sessions. All are parsed, as those out of a handshake are, by
// crypto/tls, which keeps one copy of equal certificates.
type Source struct {
	ticket, encoded []byte
	serial          []byte // of the leaf, within encoded; nil: all share it
}

// NewSource makes one handshake in memory. Sessions of the source have a leaf
// certificate each of their own, below a shared root, or all the same.
func NewSource(own bool) (*Source, error) {
	state, leaf, err := handshake()
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	ticket, session, err := state.ResumptionState()
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	encoded, err := session.Bytes()
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	s := &Source{ticket: ticket, encoded: encoded}
	if own {
		if s.serial = leaf; len(leaf) < 4 || bytes.Count(encoded, leaf) != 1 {
			return nil, errors.New("sessions: the leaf's serial number is not to be found")
		}
	}
	return s, nil
}

// Session makes that of a server. The serial number that tells the leaves apart
// is below their signature, which is therefore wrong; nothing verifies it when
// a session is parsed or kept.
func (s *Source) Session(server int) (*tls.ClientSessionState, error) {
	encoded := bytes.Clone(s.encoded)
	ticket := bytes.Clone(s.ticket)
	binary.BigEndian.PutUint64(ticket[len(ticket)-8:], uint64(server))
	if s.serial != nil {
		at := bytes.Index(encoded, s.serial) + len(s.serial)
		binary.BigEndian.PutUint32(encoded[at-4:at], uint32(server))
	}
	state, err := tls.ParseSessionState(encoded)
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	return tls.NewResumptionState(ticket, state)
}

// A catch is a session cache that keeps what is put last.
type catch struct{ state *tls.ClientSessionState }

func (*catch) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func (c *catch) Put(_ string, state *tls.ClientSessionState) { c.state = state }

// handshake returns the session of a connection and its leaf's serial number.
func handshake() (*tls.ClientSessionState, []byte, error) {
	now := time.Now()
	ca, err := tlstest.NewCA("root")
	if err != nil {
		return nil, nil, err
	}
	leaf, err := ca.Issue(tlstest.Leaf{Names: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour)})
	if err != nil {
		return nil, nil, err
	}
	near, far := tlstest.Pipe()
	defer near.Close()
	go func() {
		conn := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{leaf}})
		defer conn.Close()
		conn.Write([]byte("x")) // the tickets come before it
		io.Copy(io.Discard, conn)
	}()
	var caught catch
	conn := tls.Client(near, &tls.Config{RootCAs: ca.Pool(), ServerName: host, ClientSessionCache: &caught})
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return nil, nil, err
	}
	if caught.state == nil {
		return nil, nil, errors.New("the server gave no ticket")
	}
	return caught.state, conn.ConnectionState().PeerCertificates[0].SerialNumber.Bytes(), nil
}
