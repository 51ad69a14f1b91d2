package rehearse

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// templates holds a folder for each language. In names and texts, NAME is the
// filter's name and FILE the same as a Python module may be called; what ends
// in .txt loses that, and was nothing that Go builds.
//
//go:embed template
var templates embed.FS

// languages are those of templates, with the configuration of each.
var languages = []struct{ name, config string }{
	{"go", `filter @NAME@ proc-exec "@DIR@/@NAME@"`},
	{"c", `filter @NAME@ proc-exec "@DIR@/@NAME@"`},
	{"python", `filter @NAME@ python "@DIR@/@FILE@.py"`},
	{"perl", `filter @NAME@ perl "@DIR@/@NAME@.pl"`},
	{"sh", `filter @NAME@ proc-exec "@DIR@/@NAME@.sh"`},
}

// Languages gives the languages in which NewFilter writes filters.
func Languages() []string {
	var names []string
	for _, l := range languages {
		names = append(names, l.name)
	}
	return names
}

// Made is what NewFilter has written.
type Made struct {
	Files  []string // below the folder
	Config string   // the line that plugs the filter into weir.conf
}

var filterName = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)

// maxName bounds a filter's name, in bytes.
const maxName = 63

// PlausibleName reports whether a filter can have that name.
func PlausibleName(name string) bool { return filterName.MatchString(name) && len(name) <= maxName }

// NewFilter writes a filter, its test and its README into a new folder dir,
// an absolute path, whose last part is the filter's name. A folder that
// exists is left as it is, and an error.
func NewFilter(dir, language string) (*Made, error) {
	name := filepath.Base(dir)
	if !PlausibleName(name) {
		return nil, fmt.Errorf("%q cannot be the name of a filter: expected up to %d lower-case letters, digits and single dashes, a letter first", name, maxName)
	}
	if !filepath.IsAbs(dir) || strings.ContainsAny(dir, "\"\\\n") {
		return nil, fmt.Errorf("%q cannot be written into a configuration: expected an absolute path without quotes and backslashes", dir)
	}
	made := &Made{}
	for _, l := range languages {
		if l.name == language {
			made.Config = l.config
		}
	}
	if made.Config == "" {
		return nil, fmt.Errorf("there is no language %q: expected one of %s", language, strings.Join(Languages(), ", "))
	}
	file := strings.ReplaceAll(name, "-", "_")
	fill := strings.NewReplacer("@NAME@", name, "@FILE@", file, "@DIR@", dir)
	made.Config = fill.Replace(made.Config)
	fill = strings.NewReplacer("@NAME@", name, "@FILE@", file, "@CONFIG@", made.Config)

	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s exists already: expected a name that is free", dir)
		}
		return nil, err
	}
	root := "template/" + language
	err := fs.WalkDir(templates, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := templates.ReadFile(path)
		if err != nil {
			return err
		}
		to := strings.NewReplacer("NAME", name, "FILE", file).Replace(strings.TrimSuffix(strings.TrimPrefix(path, root+"/"), ".txt"))
		made.Files = append(made.Files, to)
		return writeFile(filepath.Join(dir, to), fill.Replace(string(text)))
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func writeFile(path, text string) error {
	mode := fs.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}
