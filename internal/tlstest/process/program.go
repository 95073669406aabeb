package process

import (
	"bytes"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// asProgram makes the test binary the program, for its children, too.
const asProgram = "TLSRESUME_TEST_AS_PROGRAM"

// Main is the TestMain of a program. Its argument is all of the program, and
// returns the status.
func Main(m *testing.M, run func(args []string) int) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// Command is the program with these arguments.
func Command(args ...string) *exec.Cmd {
	cmd := again(args...)
	cmd.Env = append(cmd.Env, asProgram+"=1")
	return cmd
}

// Run runs the program to its end, where the user has no caches yet.
func Run(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := Command(args...)
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		status = exit.ExitCode()
	}
	return out.String(), errs.String(), status
}

// Target is a Go server, and the file with the CA that a program must trust.
func Target(t testing.TB) (server *tlstest.Server, cafile string) {
	t.Helper()
	ca := tlstest.Must(tlstest.NewCA("root"))
	cert := tlstest.Must(ca.Issue(tlstest.Leaf{}))
	server, err := tlstest.NewServer(tlstest.Options{Config: &tls.Config{Certificates: []tls.Certificate{cert}}})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	cafile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(cafile, ca.PEM(), 0o600))
	return server, cafile
}
