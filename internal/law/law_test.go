// Package law holds the tests of rules that no single package can hold.
package law

import (
	"go/build"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/tlsresume/tlsresume/"

// TestSiblingsDoNotKnowEachOther holds the law of docs/architecture.md:
// ticket computes, cache remembers, and only resume knows both.
func TestSiblingsDoNotKnowEachOther(t *testing.T) {
	for _, law := range []struct {
		dir    string
		banned []string
		why    string
	}{
		{"ticket", []string{module + "cache", module + "resume"}, "ticket is a leaf"},
		{"cache", []string{module + "ticket", module + "resume", "crypto/tls"}, "cache is a leaf and knows no TLS"},
		{"resume", []string{module + "internal", module + "cmd"}, "the product does not use its test helpers"},
	} {
		for _, pkg := range packagesBelow(t, filepath.Join("..", "..", law.dir)) {
			if pkg.IsCommand() {
				continue // nobody imports it: it stands above all, like cmd
			}
			for _, imported := range pkg.Imports {
				for _, banned := range law.banned {
					require.False(t, imported == banned || strings.HasPrefix(imported, banned+"/"),
						"%s imports %s: %s", pkg.Dir, imported, law.why)
				}
			}
		}
	}
}

// packagesBelow reads the packages of a directory and of those below it, for
// every system, nested modules included: their tests have laws of their own,
// the product code has these.
func packagesBelow(t *testing.T, dir string) (found []*build.Package) {
	context := build.Default
	context.UseAllFiles = true // whatever the system
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		pkg, err := context.ImportDir(path, 0)
		if _, empty := err.(*build.NoGoError); empty {
			return nil
		}
		if err != nil {
			return err
		}
		found = append(found, pkg)
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found
}

// TestRootModuleRequiresTwoModules keeps what users take in small.
func TestRootModuleRequiresTwoModules(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	require.NoError(t, err)
	var direct []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") {
			direct = append(direct, fields[0])
		}
	}
	require.ElementsMatch(t, []string{"github.com/stretchr/testify", "golang.org/x/sync"}, direct)
}
