package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weirmail/weir/"

// stages is the path of a mail. A stage may import stages to its right.
var stages = []string{"listener", "session", "filter", "routing", "queue", "delivery"}

// vocabulary packages import no stage and no service; services no stage.
var (
	vocabulary = []string{"smtp", "mail", "filterwire", "milter"}
	services   = []string{"table", "config", "dns", "trace", "admin", "rehearse", "descriptor"}
)

// joins may import what the rules below forbid to others: the programs, the
// packages that tie the stages, and tests of the whole (those of the documents
// run what these say).
var joins = []string{"internal/server", "internal/privsep", "cmd/", "test/", "bench/", "docs/"}

// exceptions are imports that a rule forbids and a reason allows.
var exceptions = map[[2]string]string{
	{"internal/filterwire/", "internal/trace/"}: "the reports to filters are the events of trace, written down; trace imports mail alone",
}

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath, Dir, Name, Doc         string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
	TestImports, XTestImports          []string
}

// path is the package's folder within the module, "" for its root.
func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath+"/", module) }

// packages lists the module.
func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list shows %d packages only", len(all))
	}
	return all
}

// group says to which part of the house a folder belongs: a stage's name,
// "vocabulary", "service", "join", "sdk" or "other".
func group(path string) (kind, name string) {
	rest, internal := strings.CutPrefix(path, "internal/")
	stage, inMailflow := strings.CutPrefix(rest, "mailflow/")
	first, _, _ := strings.Cut(rest, "/")
	switch {
	case slices.ContainsFunc(joins, func(j string) bool { return strings.HasPrefix(path, j) }):
		return "join", path
	case internal && inMailflow:
		name, _, _ = strings.Cut(stage, "/")
		return "stage", name
	case internal && slices.Contains(vocabulary, first):
		return "vocabulary", first
	case internal && slices.Contains(services, first):
		return "service", first
	case strings.HasPrefix(path, "sdk/"):
		return "sdk", path
	case strings.HasPrefix(path, "filters/"):
		return "shipped filter", path
	}
	return "other", path
}

// forbidden gives the rule that an import breaks, "" if none.
func forbidden(from, to string) string {
	fromKind, fromName := group(from)
	toKind, toName := group(to)
	switch {
	case fromKind == "join":
		return ""
	case toKind == "join":
		return "only programs import what joins the stages"
	case fromKind == "sdk" && toKind != "sdk":
		return "an SDK imports nothing of the server"
	case fromKind == "shipped filter" && toKind != "sdk" && toKind != "shipped filter":
		return "a shipped filter is written with the SDK alone"
	case fromKind == "vocabulary" && (toKind == "stage" || toKind == "service"):
		return "vocabulary imports no stage and no service"
	case fromKind == "service" && toKind == "stage":
		return "a service imports no stage"
	case fromKind == "other" && toKind == "stage":
		return "only the server joins stages"
	case fromKind == "stage" && toKind == "stage" && slices.Index(stages, fromName) > slices.Index(stages, toName):
		return "imports follow the mail: " + strings.Join(stages, " ")
	}
	return ""
}

// TestImports keeps the rule of the house. Tests of a package may import what
// the package may.
func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		kind, name := group(p.path())
		if kind == "stage" && !slices.Contains(stages, name) {
			t.Errorf("%s: internal/mailflow holds exactly %s", p.ImportPath, strings.Join(stages, " "))
		}
		if kind == "other" && strings.HasPrefix(p.path(), "internal/") && p.path() != "internal/house/" && p.path() != "internal/mailflow/" {
			t.Errorf("%s: the house has no such room; the list is in %s", p.ImportPath, "imports_test.go")
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			to, ours := strings.CutPrefix(imp+"/", module)
			if !ours || to == p.path() {
				continue
			}
			if _, ok := exceptions[[2]string{p.path(), to}]; ok {
				continue
			}
			if rule := forbidden(p.path(), to); rule != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, rule)
			}
		}
	}
}

// TestForbidden shows that the rule can be broken.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"internal/mailflow/session/", "internal/mailflow/filter/", false},
		{"internal/mailflow/filter/", "internal/mailflow/session/", true},
		{"internal/mailflow/queue/sqlite/", "internal/mailflow/queue/", false},
		{"internal/mailflow/queue/", "internal/mailflow/queue/sqlite/", false},
		{"internal/mailflow/delivery/", "internal/mailflow/queue/", true},
		{"internal/mailflow/listener/", "internal/server/", true},
		{"internal/server/", "internal/mailflow/listener/", false},
		{"cmd/weir/", "internal/server/", false},
		{"internal/smtp/", "internal/mail/", false},
		{"internal/smtp/", "internal/table/", true},
		{"internal/table/", "internal/smtp/", false},
		{"internal/config/", "internal/mailflow/filter/", true},
		{"sdk/go/filter/", "internal/filterwire/", true},
		{"filters/passthrough/", "sdk/go/filter/", false},
		{"filters/passthrough/", "internal/mail/", true},
		{"internal/admin/", "internal/house/", false},
	} {
		if got := forbidden(c.from, c.to) != ""; got != c.want {
			t.Errorf("forbidden(%s, %s) = %v", c.from, c.to, got)
		}
	}
}
