// Package record keeps the results of runs in a file, a line of JSON each, so
// that the report can be written again without measuring again.
//
// A new run of a workload takes the place of its last one; others stay.
package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Run says what records have in common: when, how and on what they were made.
type Run struct {
	ID       string            `json:"id"`
	Begin    time.Time         `json:"begin"`
	Command  string            `json:"command"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
}

// Record is one measurement.
type Record struct {
	Run     string             `json:"run"`
	Work    string             `json:"work"`              // the workload
	Peer    string             `json:"peer"`              // what was measured
	Variant string             `json:"variant,omitempty"` // how it was set up
	X       float64            `json:"x,omitempty"`       // what grows
	Round   int                `json:"round"`
	Values  map[string]float64 `json:"values"`
	Lost    string             `json:"lost,omitempty"` // how mail was lost or doubled; such a record is in no median
}

// File is the content of a file of results.
type File struct {
	Runs    []Run
	Records []Record
}

// line is a line of the file: one of the two.
type line struct {
	Run    *Run    `json:"of,omitempty"`
	Record *Record `json:"is,omitempty"`
}

// Read reads a file; one that is missing is empty.
func Read(path string) (*File, error) {
	f := new(File)
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	s := bufio.NewScanner(in)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		if l.Run != nil {
			f.Runs = append(f.Runs, *l.Run)
		}
		if l.Record != nil {
			f.Records = append(f.Records, *l.Record)
		}
	}
	return f, s.Err()
}

// Add adds the records of a run. Earlier runs' records of the same workloads
// go, and so do runs that have no more records.
func (f *File) Add(run Run, records []Record) {
	f.Records = slices.DeleteFunc(f.Records, func(r Record) bool {
		return r.Run != run.ID && slices.ContainsFunc(records, func(n Record) bool { return n.Work == r.Work })
	})
	for _, r := range records {
		r.Run = run.ID
		f.Records = append(f.Records, r)
	}
	if !slices.ContainsFunc(f.Runs, func(r Run) bool { return r.ID == run.ID }) {
		f.Runs = append(f.Runs, run)
	}
	f.Runs = slices.DeleteFunc(f.Runs, func(r Run) bool {
		return !slices.ContainsFunc(f.Records, func(rec Record) bool { return rec.Run == r.ID })
	})
}

// Write writes the file.
func (f *File) Write(path string) error {
	out, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range f.Runs {
		err = errors.Join(err, enc.Encode(line{Run: &f.Runs[i]}))
	}
	for i := range f.Records {
		err = errors.Join(err, enc.Encode(line{Record: &f.Records[i]}))
	}
	if err = errors.Join(err, w.Flush(), out.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Of gives the records of a workload, in the order of the file.
func (f *File) Of(work string) []Record {
	var all []Record
	for _, r := range f.Records {
		if r.Work == work {
			all = append(all, r)
		}
	}
	return all
}
