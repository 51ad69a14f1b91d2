package server

import (
	"os"
	"path/filepath"
)

// bridgeDirs is where bridges are installed.
var bridgeDirs = []string{"/usr/local/libexec/weir", "/usr/libexec/weir"}

// findBridge gives the program that runs filters written in a language,
// "python" or "perl": beside our own program or in its libexec, in a source
// tree, or where packages put it; "" if it is nowhere.
func findBridge(language string) string {
	name := "filter-" + language
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		dirs = append(dirs, dir,
			filepath.Join(dir, "..", "libexec", "weir"),
			filepath.Join(dir, "..", "sdk", language)) // bin/weir of a source tree
	}
	for _, dir := range append(dirs, bridgeDirs...) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}
