package integration_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
	"github.com/tlsresume/tlsresume/resume"
)

// program runs a program of another TLS stack and returns what it printed.
func program(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		peerMissing(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	return string(out)
}

const request = "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"

// eachInn runs a test with every kind of server and both versions.
func eachInn(t *testing.T, test func(t *testing.T, kind innKind, n *inn, tls12 bool)) {
	for _, kind := range innKinds {
		t.Run(kind.name+" TLS 1.3", func(t *testing.T) { test(t, kind, newInn(t, kind), false) })
		t.Run(kind.name+" TLS 1.2", func(t *testing.T) { test(t, kind, newInn(t, kind, onlyTLS12), true) })
	}
}

// The law of the house as openssl sees it: with one session file, Reused and
// then New, and Reused both times where tickets are stateless or TLS 1.2's.
func TestOpenSSLClientsSessionFileIsGoodOnce(t *testing.T) {
	eachInn(t, func(t *testing.T, kind innKind, n *inn, tls12 bool) {
		dir := t.TempDir()
		sclient := func(args ...string) (reused bool, out string) {
			out = program(t, request, "openssl", append([]string{
				"s_client", "-connect", n.Addr, "-servername", host, "-CAfile", n.caFile, "-verify_return_error", "-ign_eof",
			}, args...)...)
			reused = strings.Contains(out, "\nReused, TLSv1.")
			require.NotEqual(t, reused, strings.Contains(out, "\nNew, TLSv1."), out)
			require.Contains(t, out, "200 OK")
			n.settled(t)
			return reused, out
		}
		first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
		reused, _ := sclient("-sess_out", first)
		require.False(t, reused)
		reused, _ = sclient("-sess_in", first, "-sess_out", second)
		require.True(t, reused)
		again := tls12 || !kind.once
		reused, _ = sclient("-sess_in", first)
		require.Equal(t, again, reused, "with the same file again")
		if tls12 {
			require.NoFileExists(t, second, "openssl does not notice the new ticket")
			second = first
		}
		reused, _ = sclient("-sess_in", second)
		require.True(t, reused, "what the resumed connection brought")
		require.Equal(t, []bool{false, true, again, true}, n.handshakes())
	})
}

// curl keeps sessions for the URLs of one command line. It wants no tickets in
// TLS 1.2 (SSL_OP_NO_TICKET), and crypto/tls has nothing else.
func TestCurlResumesForEveryURLAfterTheFirst(t *testing.T) {
	eachInn(t, func(t *testing.T, _ innKind, n *inn, tls12 bool) {
		for _, protocol := range []string{"--http1.1", "--http2"} {
			n.forget()
			url := "https://" + host + ":" + n.port() + "/"
			args := []string{"-sS", protocol, "--cacert", n.caFile, "--resolve", host + ":" + n.port() + ":127.0.0.1"}
			if protocol == "--http1.1" {
				args = append(args, "-H", "Connection: close") // else it stays with the first
			} else {
				args = append(args, "--max-time", "10")
			}
			out := program(t, "", "curl", append(args, url, url, url, url)...)
			require.Equal(t, 4, strings.Count(out, "resumed="), out)
			n.settled(t)
			switch got := n.handshakes(); protocol {
			case "--http1.1":
				require.Equal(t, []bool{false, !tls12, !tls12, !tls12}, got, out)
				require.Equal(t, tls12, n.cache.Stats().Captured == 0)
			default:
				require.Equal(t, []bool{false}, got, "one connection serves all")
				require.Contains(t, out, "HTTP/2.0")
			}
		}
	})
}

func TestGnuTLSClientResumes(t *testing.T) {
	eachInn(t, func(t *testing.T, _ innKind, n *inn, _ bool) {
		out := program(t, request, "gnutls-cli", "--resume", "--waitresumption", "--x509cafile", n.caFile,
			"--sni-hostname", host, "--verify-hostname", host, "--port", n.port(), "127.0.0.1")
		n.settled(t)
		require.Contains(t, out, "This is a resumed session", out)
		require.Equal(t, []bool{false, true}, n.handshakes(), out)
	})
}

// A client of Node.js, which is told of tickets by an event, and in TLS 1.2 of
// the first one only. It makes as many connections as it is told to, each with
// the last ticket that it was told of, and one more with the first.
const nodeClient = `
const tls = require('tls'), fs = require('fs');
const [port, ca, times] = process.argv.slice(1);
const turn = (session) => new Promise((resolve, reject) => {
  let last;
  const socket = tls.connect({host: '127.0.0.1', port, servername: '` + host + `', ca: fs.readFileSync(ca), session});
  socket.on('session', (s) => { last = s; });
  socket.on('secureConnect', () => {
    console.log('reused=' + socket.isSessionReused());
    socket.write('GET / HTTP/1.1\r\nHost: ` + host + `\r\nConnection: close\r\n\r\n');
  });
  socket.on('data', () => {});
  socket.on('error', reject);
  socket.on('close', () => resolve(last));
});
(async () => {
  let first, session;
  for (let i = 0; i < Number(times); i++) { session = await turn(session) || session; first = first || session; }
  await turn(first);
})().catch((e) => { console.error(e); process.exit(1); });
`

func TestNodeClientResumes(t *testing.T) {
	eachInn(t, func(t *testing.T, kind innKind, n *inn, tls12 bool) {
		out := program(t, "", "node", "-e", nodeClient, n.port(), n.caFile, "4")
		n.settled(t)
		got := "reused=false\nreused=true\nreused=true\nreused=true\n"
		if kind.once && !tls12 {
			got += "reused=false\n"
		} else {
			got += "reused=true\n"
		}
		require.Equal(t, got, out)
	})
}

// The same in Python.
const pythonClient = `
import socket, ssl, sys
port, ca, times = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
def turn(session):
    with socket.create_connection(("127.0.0.1", port)) as raw:
        with context.wrap_socket(raw, server_hostname="` + host + `", session=session) as conn:
            conn.sendall(b"GET / HTTP/1.1\r\nHost: ` + host + `\r\nConnection: close\r\n\r\n")
            while conn.recv(4096):
                pass
            print("reused=%s" % conn.session_reused)
            return conn.session
first = session = None
for i in range(times):
    session = turn(session)
    first = first or session
turn(first)
`

func TestPythonClientResumes(t *testing.T) {
	eachInn(t, func(t *testing.T, kind innKind, n *inn, tls12 bool) {
		out := program(t, "", "python3", "-c", pythonClient, n.port(), n.caFile, "4")
		n.settled(t)
		got := "reused=False\nreused=True\nreused=True\nreused=True\n"
		if kind.once && !tls12 {
			got += "reused=False\n"
		} else {
			got += "reused=True\n"
		}
		require.Equal(t, got, strings.ReplaceAll(out, "\r", ""))
	})
}

// And our own client, in parallel: whatever it offers resumes.
func TestOurClientResumesWithOurServer(t *testing.T) {
	eachInn(t, func(t *testing.T, _ innKind, n *inn, tls12 bool) {
		proxy, err := tlstest.NewProxy(n.Addr, 8)
		require.NoError(t, err)
		t.Cleanup(proxy.Close)
		cache := newCache(t, new(resume.ClientCache))
		e := dialed(cache.NewScope(), n.client)
		resumed := 0
		for range 4 {
			resumed += e.crowdHTTP(t, proxy.Addr, 4)
		}
		for range 4 {
			resumed += e.crowdHTTP(t, proxy.Addr, 1)
		}
		counts := proxy.Identities.Counts()
		require.EqualValues(t, resumed, n.cache.Stats().Resumed)
		require.LessOrEqual(t, resumed, counts.Offered)
		if !tls12 {
			requireNoReuse(t, proxy.Identities)
		}
		n.settled(t)
		require.GreaterOrEqual(t, resumed, 16)
		require.Equal(t, resumed, counts.Offered)
	})
}

// crowdHTTP makes connections at once, each with one request, and counts those
// that resumed.
func (e entry) crowdHTTP(t testing.TB, addr string, parallel int) (resumed int) {
	t.Helper()
	answers := make(chan bool, parallel)
	for range parallel {
		go func() {
			conn, err := e.dial(t.Context(), addr)
			if err != nil {
				t.Error(err)
				answers <- false
				return
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(request)); err != nil {
				t.Error(err)
			}
			buf := make([]byte, 1024)
			for {
				if _, err := conn.Read(buf); err != nil {
					break
				}
			}
			answers <- conn.ConnectionState().DidResume
		}()
	}
	for range parallel {
		if <-answers {
			resumed++
		}
	}
	return resumed
}
