package rehearse

import (
	"context"
	"fmt"
	"slices"

	"github.com/weirmail/weir/internal/filterwire"
)

// maxFaulty is after how many scenes with a fault a check ends: what follows
// would mostly be the same again, and each may have cost a time limit.
const maxFaulty = 3

// Result is what a check found.
type Result struct {
	Registered []string   // what the filter wants: "report|smtp-in|tx-mail"
	Findings   []*Finding // each once, with how often
	Played     int        // scenes, to their end or to their fault
	NotPlayed  int        // scenes, since too many had a fault
	Questions  int        // asked
	Lines      int        // of messages, sent
}

// Faults gives how many different faults were found.
func (r *Result) Faults() int {
	n := 0
	for _, f := range r.Findings {
		if !f.Remark {
			n++
		}
	}
	return n
}

// Check plays all scenes to a filter. One process plays as many as it can,
// like a server's; after a fault that ends it another is started. The error
// is that of a filter which cannot be run (ErrNotRun), or of ctx.
func Check(ctx context.Context, o Options) (*Result, error) {
	o = o.withDefaults()
	scenes, err := transcripts()
	if err != nil {
		return nil, err
	}
	scenes = append(scenes, oddScenes()...)
	return check(ctx, &o, scenes)
}

func check(ctx context.Context, o *Options, scenes []*Scene) (*Result, error) {
	r := &Result{}
	faulty := 0
	for n, group := 0, sameHandshake(scenes); len(group) > 0; n++ {
		if faulty >= maxFaulty {
			for _, rest := range group {
				r.NotPlayed += len(rest)
			}
			break
		}
		played, err := checkSome(ctx, o, group[0], r, n)
		if err != nil {
			return nil, err
		}
		before := faulty
		faulty += played.faulty
		if group[0] = group[0][played.scenes:]; len(group[0]) == 0 {
			group = group[1:]
		}
		if played.atStart && faulty > before { // no scene will ever begin
			faulty = maxFaulty
		}
	}
	return r, ctx.Err()
}

// sameHandshake gives the scenes in groups that one process can play.
func sameHandshake(scenes []*Scene) [][]*Scene {
	var groups [][]*Scene
	for _, sc := range scenes {
		i := slices.IndexFunc(groups, func(g []*Scene) bool { return string(g[0].config()) == string(sc.config()) })
		if i < 0 {
			groups = append(groups, []*Scene{sc})
			continue
		}
		groups[i] = append(groups[i], sc)
	}
	return groups
}

// stint is how far one process came.
type stint struct {
	scenes  int  // done with
	faulty  int  // of them
	atStart bool // the fault was before the first scene
}

// checkSome plays scenes to one process until a fault ends it.
func checkSome(ctx context.Context, o *Options, scenes []*Scene, r *Result, nth int) (stint, error) {
	pl, err := open(ctx, o, scenes[0])
	if err != nil {
		return stint{}, err
	}
	pl.handshake()
	if nth == 0 {
		r.Registered = pl.j.registered
		if !pl.over {
			pl.lull()
		}
	}
	if pl.over && ctx.Err() == nil {
		pl.close()
		if pl.j.version == filterwire.V06 && nth > 0 {
			// It ran before: what it does not like is the version.
			f := remark("no-protocol-0.6", "it does not run with the older protocol 0.6", nil)
			f.Scene = scenes[0].Name
			r.keep([]*Finding{f})
			r.Played += len(scenes)
			return stint{scenes: len(scenes)}, nil
		}
		r.keep(pl.j.found)
		r.NotPlayed += len(scenes)
		return stint{scenes: len(scenes), faulty: 1, atStart: true}, nil
	}
	var s stint
	for _, sc := range scenes {
		if pl.over || s.faulty >= maxFaulty {
			break
		}
		before := pl.j.faults()
		s.scenes++
		pl.play(sc.shifted(nth*100 + s.scenes))
		if pl.j.faults() > before {
			s.faulty++
		}
	}
	before := pl.j.faults()
	pl.close()
	if pl.j.faults() > before {
		s.faulty++
	}
	r.keep(pl.j.found)
	r.Played += s.scenes
	r.Questions += pl.j.questions
	r.Lines += pl.j.lines
	return s, ctx.Err()
}

func (j *judge) faults() int {
	n := 0
	for _, f := range j.found {
		if !f.Remark {
			n++
		}
	}
	return n
}

// keep adds findings, the same ones together.
func (r *Result) keep(found []*Finding) {
	for _, f := range found {
		i := slices.IndexFunc(r.Findings, func(g *Finding) bool { return g.Name == f.Name && g.Phase == f.Phase })
		if i < 0 {
			r.Findings = append(r.Findings, f)
			continue
		}
		r.Findings[i].Times += f.Times
	}
	// Faults first; within them as they came.
	slices.SortStableFunc(r.Findings, func(a, b *Finding) int {
		switch {
		case a.Remark == b.Remark:
			return 0
		case b.Remark:
			return -1
		}
		return 1
	})
}

// Summary gives the result in one line.
func (r *Result) Summary() string {
	s := fmt.Sprintf("%d scenes, %d questions, %d message lines: %s, %s", r.Played, r.Questions, r.Lines,
		count(r.Faults(), "fault"), count(len(r.Findings)-r.Faults(), "remark"))
	if r.NotPlayed > 0 {
		s += fmt.Sprintf("; %s not played after that", count(r.NotPlayed, "scene"))
	}
	return s
}

func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
