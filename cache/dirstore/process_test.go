package dirstore_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tlsresume/tlsresume/cache"
	"github.com/tlsresume/tlsresume/cache/dirstore"
	"github.com/tlsresume/tlsresume/internal/tlstest/process"
)

// The test binary plays the other processes.
const actorRole = "DIRSTORE_ROLE"

type part struct {
	Role string
	Args []string // the directory and more
}

type role func(args []string, in io.Reader, out *json.Encoder) error

var roles = map[string]role{
	"take all":  takeAll,
	"have some": haveSome,
	"churn":     churn,
}

func TestMain(m *testing.M) {
	process.As(actorRole, func(p part, in io.Reader, out io.Writer) error {
		return roles[p.Role](p.Args, in, json.NewEncoder(out))
	})
	os.Exit(m.Run())
}

// act starts a process that plays a role, and says values of a type.
func act[V any](t testing.TB, role string, args ...string) *process.Process[V] {
	t.Helper()
	return process.Start[V](t, actorRole, part{role, args})
}

// play runs an actor to its end and returns what it said.
func play(t testing.TB, role string, args ...string) []string {
	t.Helper()
	return act[string](t, role, args...).End(t)
}

// many is a bound that no test of processes reaches.
var many = dirstore.Options{MaxPerKey: 100000, MaxEntries: 1000000}

// takeAll waits for a line and takes everything from keys 0 to 7.
func takeAll(args []string, in io.Reader, out *json.Encoder) error {
	s, err := dirstore.Open(args[0], many)
	if err != nil {
		return err
	}
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
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
				out.Encode(e.ID)
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
	var takers []*process.Process[string]
	for range 4 {
		takers = append(takers, act[string](t, "take all", dir))
	}
	for _, taker := range takers {
		fmt.Fprintln(taker.In)
	}
	for _, taker := range takers {
		for _, id := range taker.End(t) {
			require.True(t, left[id], "%s was taken twice", id)
			delete(left, id)
		}
	}
	require.Empty(t, left, "nobody has taken these")
}

// haveSome tries to have the entry once per line of input, in the way that the
// line says, and answers whether it had it.
func haveSome(args []string, in io.Reader, out *json.Encoder) error {
	s, err := dirstore.Open(args[0], many)
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		had := false
		if lines.Text() == "delete" {
			had, err = s.Delete(background, "k", "a")
		} else {
			_, err = s.Take(background, "k", 1)
			had = err == nil
		}
		if err != nil && err != cache.ErrMiss {
			return err
		}
		out.Encode(had)
	}
	return nil
}

func TestTwoProcessesShareOneEntry(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, many)
	one, two := act[bool](t, "have some", dir), act[bool](t, "have some", dir)
	verbs := []string{"take", "delete"}
	for round := range 400 {
		put(t, s, "k", "a")
		fmt.Fprintln(one.In, verbs[round%2])
		fmt.Fprintln(two.In, verbs[round/2%2])
		require.NotEqual(t, one.Next(t), two.Next(t), "round %d", round)
	}
}

// churn puts and takes until it is killed, and notes in a file what it has put
// and taken once the call has returned: what is in the notes was handed out. It
// says when the first is there.
func churn(args []string, _ io.Reader, out *json.Encoder) error {
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
		if i == 0 {
			out.Encode(true)
		}
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
		var actors []*process.Process[bool]
		for i := range together {
			name := fmt.Sprintf("%d.%d", round, i)
			actors = append(actors, act[bool](t, "churn", dir, filepath.Join(notes, name), name))
		}
		for _, actor := range actors {
			require.True(t, actor.Next(t))
		}
		for _, actor := range actors {
			workAside(t, s, rand.N(40)) // where it dies is left to chance
			require.True(t, actor.Kill(), "it was to be killed and failed itself")
		}
	}
	checkNotes(t, s, notes, dir, 2*rounds*together)
}

// workAside puts and takes something else, up to 2 ms long.
func workAside(t *testing.T, s *dirstore.Store, times int) {
	t.Helper()
	for range times {
		put(t, s, "aside", "a")
		require.Equal(t, []string{"a"}, drain(t, s, "aside"))
	}
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
