package process

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/internal/tlstest"
)

const (
	counter = "TLSRESUME_TEST_COUNTER"
	house   = "TLSRESUME_TEST_HOUSE"
	where   = "TLSRESUME_TEST_WHERE"
)

func TestMain(m *testing.M) {
	As(counter, func(upTo int, in io.Reader, out io.Writer) error {
		for n := range upTo {
			json.NewEncoder(out).Encode(n)
		}
		_, err := io.Copy(io.Discard, in)
		return err
	})
	As(house, func(addr string, in io.Reader, out io.Writer) error {
		if err := Listening(addr, in, out); err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(len(addr))
	})
	As(where, func(_ bool, _ io.Reader, out io.Writer) error {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(dir)
	})
	Main(m, func(args []string) int {
		fmt.Print(args)
		fmt.Fprint(os.Stderr, os.Getenv("XDG_CACHE_HOME"))
		return len(args)
	})
}

func TestAllThatAProcessSaysComesBack(t *testing.T) {
	p := Start[int](t, counter, 4)
	require.Equal(t, 0, p.Next(t))
	require.Equal(t, []int{1, 2, 3}, p.End(t))
}

func TestAServerSaysWhereItListensAndEndsWithItsInput(t *testing.T) {
	s := StartServer[int](t, house, "127.0.0.1:1")
	require.Equal(t, "127.0.0.1:1", s.Addr)
	require.Equal(t, 11, s.End(t))
}

func TestAKilledProcessHasEnded(t *testing.T) {
	p := Start[int](t, counter, 1)
	require.Equal(t, runtime.GOOS != "windows", p.Kill()) // where all processes exit
	require.NotNil(t, p.cmd.ProcessState)
	require.False(t, p.cmd.ProcessState.Success())
}

func TestAProcessThatEndedByItselfWasNotKilled(t *testing.T) {
	p := Start[int](t, counter, 0)
	require.Empty(t, p.End(t))
	require.False(t, p.Kill())
}

func TestACommandIsChangedBeforeItStarts(t *testing.T) {
	dir := t.TempDir()
	p := Start[string](t, where, true, func(cmd *exec.Cmd) { cmd.Dir = dir })
	require.Equal(t, []string{tlstest.Must(filepath.EvalSymlinks(dir))}, p.End(t))
}

func TestWorkThatCannotBeReadIsAnError(t *testing.T) {
	p := Start[int](t, counter, "many")
	var exit *exec.ExitError
	require.ErrorAs(t, p.cmd.Wait(), &exit)
	require.Equal(t, 1, exit.ExitCode())
}

func TestAProgramRunsInAHomeOfItsOwn(t *testing.T) {
	out, stderr, status := Run(t, "a", "b")
	require.Equal(t, "[a b]", out)
	require.DirExists(t, stderr)
	require.Equal(t, 2, status)
}
