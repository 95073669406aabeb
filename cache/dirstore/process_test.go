package dirstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
)

// The test binary plays the other processes: with a role in its environment it
// does what the role says instead of testing.
const (
	roleEnv = "DIRSTORE_ROLE"
	argsEnv = "DIRSTORE_ARGS" // the directory and more, one a line
)

var roles = map[string]func(args []string) error{
	"take all":  takeAll,
	"have some": haveSome,
	"churn":     churn,
}

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(strings.Split(os.Getenv(argsEnv), "\n")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// actor is a process that is to play a role.
func actor(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, argsEnv+"="+strings.Join(args, "\n"))
	return cmd
}

// play runs an actor to its end and returns what it wrote.
func play(t *testing.T, role string, args ...string) string {
	t.Helper()
	return output(t, actor(role, args...))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	require.NoError(t, err)
	return string(out)
}

// many is a bound that no test of processes reaches.
var many = dirstore.Options{MaxPerKey: 100000, MaxEntries: 1000000}

// cast starts an actor that waits for its standard input.
func cast(t *testing.T, role string, args ...string) (in io.WriteCloser, out *bufio.Scanner, cmd *exec.Cmd) {
	t.Helper()
	cmd = actor(role, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		require.NoError(t, cmd.Wait())
	})
	return in, bufio.NewScanner(stdout), cmd
}

// takeAll waits until its input ends and takes everything from keys 0 to 7.
func takeAll(args []string) error {
	s, err := dirstore.Open(args[0], many)
	if err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	for missed := 0; missed < 8; {
		missed = 0
		for key := range 8 {
			got, err := s.Take(background, fmt.Sprint(key), 2)
			if err == cache.ErrMiss {
				missed++
			} else if err != nil {
				return err
			}
			for _, e := range got {
				fmt.Println(e.ID)
			}
		}
	}
	return nil
}

func TestProcessesTakeEachEntryOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, many)
	left := make(map[string]bool)
	for key := range 8 {
		for i := range 50 {
			id := fmt.Sprintf("%d-%d", key, i)
			put(t, s, fmt.Sprint(key), id)
			left[id] = true
		}
	}
	var outs []*bufio.Scanner
	for range 4 {
		in, out, _ := cast(t, "take all", dir)
		defer in.Close()
		outs = append(outs, out)
		in.Close()
	}
	for _, out := range outs {
		for out.Scan() {
			require.True(t, left[out.Text()], "%s was taken twice", out.Text())
			delete(left, out.Text())
		}
	}
	require.Empty(t, left, "nobody has taken these")
}

// haveSome tries to have the entry once per line of input, in the way that the
// line says, and answers whether it had it.
func haveSome(args []string) error {
	s, err := dirstore.Open(args[0], many)
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		had := false
		if in.Text() == "delete" {
			had, err = s.Delete(background, "k", "a")
		} else {
			_, err = s.Take(background, "k", 1)
			had = err == nil
		}
		if err != nil && err != cache.ErrMiss {
			return err
		}
		fmt.Println(had)
	}
	return nil
}

func TestTwoProcessesShareOneEntry(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, many)
	in1, out1, _ := cast(t, "have some", dir)
	in2, out2, _ := cast(t, "have some", dir)
	verbs := []string{"take", "delete"}
	for round := range 400 {
		put(t, s, "k", "a")
		fmt.Fprintln(in1, verbs[round%2])
		fmt.Fprintln(in2, verbs[round/2%2])
		require.True(t, out1.Scan() && out2.Scan())
		require.ElementsMatch(t, []string{"true", "false"}, []string{out1.Text(), out2.Text()}, "round %d", round)
	}
}

// churn puts and takes until it is killed, and notes in a file what it has put
// and taken once the call has returned: what is in the notes was handed out.
func churn(args []string) error {
	dir, notes, name := args[0], args[1], args[2]
	s, err := dirstore.Open(dir, many)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(notes, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		ids := []string{fmt.Sprintf("%s-%d-a", name, i), fmt.Sprintf("%s-%d-b", name, i)}
		if err := s.Put(background, "k", entry(ids[0]), entry(ids[1])); err != nil {
			return err
		}
		fmt.Fprintf(file, "put %s\nput %s\n", ids[0], ids[1])
		got, err := s.Take(background, "k", 1+i%2)
		if err != nil && err != cache.ErrMiss {
			return err
		}
		var line strings.Builder
		for _, e := range got {
			if string(e.Value) != string(entry(e.ID).Value) {
				return fmt.Errorf("value of %s is %q", e.ID, e.Value)
			}
			fmt.Fprintf(&line, "took %s\n", e.ID)
		}
		io.WriteString(file, line.String())
	}
}

// TestKilledProcessesLoseAtMostWhatTheyHad kills some hundred processes while
// they put and take. Nothing may come twice, nothing be damaged or left behind,
// and per death no more be lost than the two entries of one Take.
func TestKilledProcessesLoseAtMostWhatTheyHad(t *testing.T) {
	rounds, together := 70, 3
	if testing.Short() {
		rounds = 10
	}
	dir, notes := t.TempDir(), t.TempDir()
	s := open(t, dir, many)
	for round := range rounds {
		var cmds []*exec.Cmd
		for i := range together {
			name := fmt.Sprintf("%d.%d", round, i)
			cmd := actor("churn", dir, filepath.Join(notes, name), name)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Start())
			cmds = append(cmds, cmd)
		}
		waitFor(t, filepath.Join(notes, fmt.Sprintf("%d.0", round)))
		for _, cmd := range cmds {
			time.Sleep(rand.N(2 * time.Millisecond)) // where it dies is left to chance
			require.NoError(t, cmd.Process.Kill())
		}
		for _, cmd := range cmds {
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Wait(), &exit)
			require.False(t, exit.Exited(), "it was to be killed and failed itself")
		}
	}
	checkNotes(t, s, notes, dir, 2*rounds*together)
}

// waitFor waits until a file has something in it.
func waitFor(t *testing.T, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(background, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("nothing comes to %s", path)
}

func checkNotes(t *testing.T, s *dirstore.Store, notes, dir string, mayBeLost int) {
	t.Helper()
	was, taken := make(map[string]bool), make(map[string]bool)
	for _, name := range files(t, notes) {
		b, err := os.ReadFile(filepath.Join(notes, name))
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			verb, id, _ := strings.Cut(strings.TrimSpace(line), " ")
			if verb == "put" {
				was[id] = true
			} else {
				require.False(t, taken[id], "%s was taken twice", id)
				taken[id] = true
			}
		}
	}
	left := drain(t, s, "k")
	for _, id := range left {
		require.False(t, taken[id], "%s was taken and is still there", id)
		taken[id] = true
	}
	lost := 0
	for id := range was {
		if !taken[id] {
			lost++
		}
	}
	t.Logf("%d put, %d of them left, %d lost", len(was), len(left), lost)
	require.LessOrEqual(t, lost, mayBeLost)
	require.Zero(t, s.Stats().Damaged+s.Stats().Unreadable+s.Stats().Foreign)
	sweepTmps(t, s, dir)
}

// sweepTmps makes all files old, so that those left behind are seen as such.
func sweepTmps(t *testing.T, s *dirstore.Store, dir string) {
	t.Helper()
	hourAgo := time.Now().Add(-time.Hour)
	tmps := 0
	for _, name := range files(t, dir) {
		if strings.HasSuffix(name, ".tmp") {
			tmps++
			require.NoError(t, os.Chtimes(filepath.Join(dir, name), hourAgo, hourAgo))
		}
	}
	t.Logf("%d temporary files left behind", tmps)
	_, err := s.Sweep(background)
	require.NoError(t, err)
	require.Empty(t, files(t, dir))
}
