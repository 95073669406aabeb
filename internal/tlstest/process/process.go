// Package process runs the test binary again, as another process: with work
// that a test gives it, or as the program whose tests it has. Work travels in
// an environment variable; what becomes of it comes back as JSON values on
// standard output.
package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

// As does the work of a role and ends the process, if that is what it was
// started for. TestMain calls it first. A role is the name of an environment
// variable.
func As[W any](role string, run func(work W, in io.Reader, out io.Writer) error) {
	text := os.Getenv(role)
	if text == "" {
		return
	}
	var work W
	if err := json.Unmarshal([]byte(text), &work); err != nil {
		Exit(err)
	}
	Exit(run(work, os.Stdin, os.Stdout))
}

// Exit ends the process; an error is told.
func Exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Listening is for a process of StartServer: it says where it listens, and
// waits until its standard input ends.
func Listening(addr string, in io.Reader, out io.Writer) error {
	if err := json.NewEncoder(out).Encode(addr); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// A Process is the test binary at work. It says values of type V.
type Process[V any] struct {
	In io.WriteCloser // its standard input

	cmd  *exec.Cmd
	says *json.Decoder
}

// Start starts one, which is killed with the test if it has not ended by then.
// What changes its command runs before.
func Start[V any](t testing.TB, role string, work any, changes ...func(*exec.Cmd)) *Process[V] {
	t.Helper()
	text, err := json.Marshal(work)
	require.NoError(t, err)
	p := &Process[V]{cmd: again()}
	p.cmd.Env = append(p.cmd.Env, role+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.In = tlstest.Must(p.cmd.StdinPipe())
	p.says = json.NewDecoder(tlstest.Must(p.cmd.StdoutPipe()))
	for _, change := range changes {
		change(p.cmd)
	}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.Kill() })
	return p
}

// A Server is a Process that is Listening.
type Server[V any] struct {
	*Process[V]
	Addr string
}

// StartServer starts one, as Start does.
func StartServer[V any](t testing.TB, role string, work any) *Server[V] {
	t.Helper()
	s := &Server[V]{Process: Start[V](t, role, work)}
	require.NoError(t, s.says.Decode(&s.Addr))
	return s
}

// End ends it and returns what it says of its life: one value.
func (s *Server[V]) End(t testing.TB) V {
	t.Helper()
	all := s.Process.End(t)
	require.Len(t, all, 1)
	return all[0]
}

// again is the test binary with these arguments. The race detector would
// otherwise sleep for a second before it exits.
func again(args ...string) *exec.Cmd {
	cmd := exec.Command(tlstest.Must(os.Executable()), args...)
	cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return cmd
}

// Next is what it says next. Any goroutine may ask.
func (p *Process[V]) Next(t testing.TB) (v V) {
	t.Helper()
	assert.NoError(t, p.says.Decode(&v))
	return v
}

// End ends its standard input, waits for its end and returns all that it said
// until then.
func (p *Process[V]) End(t testing.TB) (all []V) {
	t.Helper()
	require.NoError(t, p.In.Close())
	for {
		var v V
		if err := p.says.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		all = append(all, v)
	}
	require.NoError(t, p.cmd.Wait())
	return all
}

// Kill kills it and waits for its end. It reports whether it was that which
// ended it.
func (p *Process[V]) Kill() bool {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	return !p.cmd.ProcessState.Exited()
}
