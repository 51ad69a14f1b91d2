package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The budgets. A file or function above the first needs its reason on the list
// below; none is above the second.
const (
	fileLines, fileCeiling = 400, 600
	funcLines, funcCeiling = 60, 100
)

// reasons says why something is above its budget: the path of a file in the
// module, or path:function.
var reasons = map[string]string{}

// drawers are names under which anything can be put.
var drawers = []string{"util", "utils", "common", "helpers", "helper", "misc", "lib", "tools", "shared", "base"}

// TestPackages wants a sentence about each package, and a name that says what
// is in it.
func TestPackages(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles)+len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			continue
		}
		doc := p.Doc
		if len(p.GoFiles) == 0 {
			doc = testDoc(t, p)
		}
		switch {
		case doc == "":
			t.Errorf("%s has no package comment: what is it for?", p.ImportPath)
		case p.Name != "main" && !strings.HasPrefix(doc, "Package "+p.Name+" "):
			t.Errorf("%s: its comment begins %.40q, not with \"Package %s \"", p.ImportPath, doc, p.Name)
		}
		folder := filepath.Base(p.Dir)
		if p.Name != "main" && p.Name != folder {
			t.Errorf("%s is called %s", p.ImportPath, p.Name)
		}
		if slices.Contains(drawers, folder) || slices.Contains(drawers, p.Name) {
			t.Errorf("%s: a package is named after what it has in it", p.ImportPath)
		}
	}
}

// testDoc is the package comment of a folder that holds tests only.
func testDoc(t *testing.T, p pkg) string {
	t.Helper()
	for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			return f.Doc.Text()
		}
	}
	return ""
}

// TestBudgets measures files and functions. Files of tests have the ceiling
// alone, and their functions nothing: a table of cases is as long as it is.
func TestBudgets(t *testing.T) {
	used := make(map[string]bool)
	check := func(name string, n, budget, ceiling int) {
		if n <= budget {
			return
		}
		_, ok := reasons[name]
		used[name] = true
		switch {
		case n > ceiling:
			t.Errorf("%s has %d lines; the ceiling is %d", name, n, ceiling)
		case !ok:
			t.Errorf("%s has %d lines, the budget is %d; split it, or put the reason on the list in budgets_test.go", name, n, budget)
		}
	}
	for _, p := range packages(t) {
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, file)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := p.path() + file
			budget, isTest := fileLines, strings.HasSuffix(file, "_test.go")
			if isTest {
				budget = fileCeiling
			}
			if !generated(src) {
				check(name, bytes.Count(src, []byte("\n")), budget, fileCeiling)
			}
			if isTest {
				continue
			}
			for fn, n := range functions(t, path, src) {
				check(name+":"+fn, n, funcLines, funcCeiling)
			}
		}
	}
	for name := range reasons {
		if !used[name] {
			t.Errorf("%s is within its budget; take it off the list in budgets_test.go", name)
		}
	}
}

// generated reports whether a file was made by a program.
func generated(src []byte) bool {
	first, _, _ := bytes.Cut(src, []byte("\n"))
	return bytes.HasPrefix(first, []byte("// Code generated "))
}

// functions gives the number of lines of each function of a file.
func functions(t *testing.T, path string, src []byte) map[string]int {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]int)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil && len(fn.Recv.List) == 1 {
			name = receiver(fn.Recv.List[0].Type) + "." + name
		}
		lines[name] = set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1
	}
	return lines
}

// receiver gives the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// TestNothingPutOff keeps out of the tree what is to be done some day.
func TestNothingPutOff(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			src, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"TO" + "DO", "FIX" + "ME", "X" + "XX:"} {
				if bytes.Contains(src, []byte(word)) {
					t.Errorf("%s%s has %q: do it, or write an issue", p.path(), file, word)
				}
			}
		}
	}
}
