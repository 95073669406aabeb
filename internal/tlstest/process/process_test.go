package process

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	counter = "TLSRESUME_TEST_COUNTER"
	house   = "TLSRESUME_TEST_HOUSE"
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
	p.Kill()
	require.NotNil(t, p.cmd.ProcessState)
	require.False(t, p.cmd.ProcessState.Success())
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
