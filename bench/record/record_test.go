package record

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.jsonl")
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Add(Run{ID: "1"}, []Record{{Work: "w1", Peer: "a"}, {Work: "w2", Peer: "a", X: 3, Values: map[string]float64{"s": 1.5}}})
	f.Add(Run{ID: "2", Command: "x < y"}, []Record{{Work: "w1", Peer: "b", Lost: "1 of 2"}})
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, back); d != "" {
		t.Errorf("written and read (-written +read):\n%s", d)
	}
	if len(back.Runs) != 2 || len(back.Of("w1")) != 1 || back.Of("w1")[0].Peer != "b" || len(back.Of("w2")) != 1 {
		t.Errorf("after a second run: %+v", back)
	}
	back.Add(Run{ID: "3"}, []Record{{Work: "w2"}})
	if len(back.Runs) != 2 || back.Runs[0].ID != "2" {
		t.Errorf("runs: %+v", back.Runs)
	}
}
