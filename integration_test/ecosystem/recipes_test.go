package ecosystem_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// page is docs/recipes.md.
func page(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes.md"))
	require.NoError(t, err)
	return string(text)
}

// What the page tells people to write is what the tests here run.
func TestThePageShowsTheRecipesWordForWord(t *testing.T) {
	files, err := filepath.Glob("recipe_*_test.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var written []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		written = append(written, declarations(t, file, string(source))...)
	}
	var shown []string
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(page(t), -1)
	for _, block := range blocks {
		shown = append(shown, declarations(t, "docs/recipes.md", "package page\n\n"+block[1])...)
	}
	for _, recipe := range written {
		assert.Contains(t, shown, recipe, "not on the page")
	}
	for _, recipe := range shown {
		assert.Contains(t, written, recipe, "on the page, and in no test")
	}
}

// declarations are the texts, comments included, of what a file declares, but
// for imports and Examples.
func declarations(t testing.TB, name, source string) (texts []string) {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, source, parser.ParseComments)
	require.NoError(t, err)
	for _, declaration := range parsed.Decls {
		var comment *ast.CommentGroup
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if strings.HasPrefix(d.Name.Name, "Example") {
				continue
			}
			comment = d.Doc
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			comment = d.Doc
		}
		from, to := declaration.Pos(), declaration.End()
		if comment != nil {
			from = comment.Pos()
		}
		texts = append(texts, source[files.Position(from).Offset:files.Position(to).Offset])
	}
	return texts
}

// The versions on the page are those that are tested.
func TestThePageNamesTheVersionsThatAreTested(t *testing.T) {
	module, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	direct, _, found := strings.Cut(string(module), ")")
	require.True(t, found)
	ours := regexp.MustCompile(`tlsresume|testify|golang\.org/x/`)
	stacks := 0
	for _, line := range regexp.MustCompile(`(?m)^\t(\S+) (v\S+)$`).FindAllStringSubmatch(direct, -1) {
		if ours.MatchString(line[1]) {
			continue
		}
		stacks++
		assert.Contains(t, page(t), "`"+line[1]+"` "+line[2])
	}
	assert.GreaterOrEqual(t, stacks, 6)
}
