package integration_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// BenchmarkServerHandshake prints what a resumed handshake costs a server with
// a ServerCache, as a ratio to the standard library's tickets: processor time
// of the server's thread, from Accept to the end of the handshake. The arms
// take turns handshake by handshake, on one processor and over memory. "A/A" is
// the standard library against itself and says how far the ratios can be
// trusted. Medians of 12 blocks a turn, each the ratio of two medians of 100:
//
//	go test ./integration_test -run '^$' -bench ServerHandshake -benchtime 1x
func BenchmarkServerHandshake(b *testing.B) {
	for _, rsa := range []bool{false, true} {
		name := "ECDSA"
		if rsa {
			name = "RSA"
		}
		for _, group := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519} {
			b.Run(fmt.Sprint(name, "/", group), func(b *testing.B) { benchmarkServer(b, rsa, group) })
		}
	}
}

const (
	benchBlocks = 12
	benchBlock  = 100
)

// A serverArm is a way to make a server's connection.
type serverArm struct {
	name   string
	accept func(raw net.Conn) *tls.Conn
	held   *tls.ClientSessionState
}

func benchmarkServer(b *testing.B, rsa bool, group tls.CurveID) {
	if _, ok := threadTime(); !ok {
		b.Skip("this system does not tell the processor time of a thread")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	ballast := make([]byte, 64<<20) // stands for the heap of a program
	defer runtime.KeepAlive(ballast)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{Names: []string{host}, RSA: rsa}))
	base := &tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: []tls.CurveID{group}}
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: host, CurvePreferences: []tls.CurveID{group}}
	arms := serverArms(b, base)
	ratios := make([][]float64, len(arms))
	for b.Loop() {
		for range benchBlocks {
			spent := make([][]time.Duration, len(arms))
			for turn := range benchBlock + 1 {
				for i := range arms {
					at := (i + turn) % len(arms)
					d := arms[at].handshake(b, client, turn > 0 || arms[at].held != nil)
					if turn > 0 {
						spent[at] = append(spent[at], d)
					}
				}
			}
			for i := range arms {
				ratios[i] = append(ratios[i], float64(middle(spent[i]))/float64(middle(spent[0])))
			}
		}
	}
	for i, arm := range arms[1:] {
		b.ReportMetric(middle(ratios[i+1]), arm.name)
	}
	b.ReportMetric(0, "ns/op")
}

// middle is the median.
func middle[T float64 | time.Duration](all []T) T {
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

func serverArms(b *testing.B, base *tls.Config) []serverArm {
	plain := func(config *tls.Config) func(net.Conn) *tls.Conn {
		return func(raw net.Conn) *tls.Conn { return tls.Server(raw, config) }
	}
	handed := &handing{conns: make(chan net.Conn, 1)}
	listener := new(resume.ServerCache).NewListener(handed, base)
	return []serverArm{
		{name: "standard", accept: plain(base.Clone())},
		{name: "A/A", accept: plain(base.Clone())},
		{name: "TLSConfig/standard", accept: plain(new(resume.ServerCache).TLSConfig(base))},
		{name: "NewListener/standard", accept: func(raw net.Conn) *tls.Conn {
			handed.conns <- raw
			conn, err := listener.Accept()
			require.NoError(b, err)
			return conn.(*tls.Conn)
		}},
	}
}

// handing is a listener that hands over.
type handing struct {
	net.Listener
	conns chan net.Conn
}

func (h *handing) Accept() (net.Conn, error) { return <-h.conns, nil }

// handshake makes one and returns how long the server was at work.
func (a *serverArm) handshake(b *testing.B, config *tls.Config, resumed bool) time.Duration {
	near, far := net.Pipe()
	mine := config.Clone()
	keep := &offering{offer: a.held}
	mine.ClientSessionCache = keep
	conn := tls.Client(near, mine)
	over := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1)) // the handshake, and the ticket
		over <- err
	}()
	began, _ := threadTime()
	server := a.accept(far)
	err := server.Handshake()
	ended, _ := threadTime()
	require.NoError(b, err)
	_, err = server.Write([]byte("x"))
	require.NoError(b, err)
	require.NoError(b, <-over)
	require.Equal(b, resumed, conn.ConnectionState().DidResume)
	near.Close()
	server.Close()
	a.held = keep.last()
	return ended - began
}
