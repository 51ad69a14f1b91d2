package routing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"pgregory.net/rapid"
)

// TestRouteEnds: whatever aliases say, routing ends within its limits, names
// nothing twice, and delivers locally only to users that exist.
func TestRouteEnds(t *testing.T) {
	const names = 12
	users := people{}
	for i := range names / 2 {
		users[fmt.Sprintf("n%d", i)] = "/nonexistent"
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Custom(func(t *rapid.T) string {
			name := fmt.Sprintf("n%d", rapid.IntRange(0, names-1).Draw(t, "name"))
			form := rapid.SampledFrom([]string{"%s", "%s", "%s+t", "%s@example.test", "%s@EXAMPLE.test", "%s@example.org", "|%s", "/%s"}).Draw(t, "form")
			return fmt.Sprintf(form, name)
		})
		var pairs []string
		for i := range names {
			for _, key := range []string{"n%d", "n%d+t", "n%d@example.test"} {
				if rapid.Bool().Draw(t, "entry") {
					members := rapid.SliceOfN(word, 1, 6).Draw(t, "members")
					pairs = append(pairs, fmt.Sprintf(key, i), strings.Join(members, ","))
				}
			}
		}
		action := &config.Action{}
		switch rapid.IntRange(0, 2).Draw(t, "tables") {
		case 0:
			action.Alias = mapping(pairs...)
		case 1:
			action.Virtual = mapping(pairs...)
		case 2:
			action.Alias, action.Virtual = mapping(pairs...), mapping(pairs...)
		}
		e := expansion{r: newRouter(users, action), facts: *stranger("n0@example.test")}
		res := e.run(t.Context())
		if len(e.nodes) > MaxNodes {
			t.Fatalf("%d nodes", len(e.nodes))
		}
		if res.Verdict == TryLater {
			t.Fatalf("nothing here is temporary: %v", res.Cause)
		}
		seen := map[mail.Envelope]bool{}
		for _, env := range res.Envelopes {
			if seen[env] {
				t.Fatalf("twice: %+v", env)
			}
			seen[env] = true
			_, known := users[env.Local.User]
			relayed := env.Action == "out" && env.Local == (mail.Local{})
			special := env.Local.User == AliasUser && (env.Local.File != "" || env.Local.Command != "")
			if !known && !relayed && !special {
				t.Fatalf("nobody would take %+v", env)
			}
		}
	})
}

// TestRouteWide: addresses that name each other, ten of ten, would be 10^10
// ways if each counted apart.
func TestRouteWide(t *testing.T) {
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprintf("a%d@example.test", i))
	}
	var pairs []string
	for i := range 10 {
		pairs = append(pairs, fmt.Sprintf("a%d", i), strings.Join(all, ",")+",x@example.org")
	}
	res := newRouter(people{}, &config.Action{Alias: mapping(pairs...)}).Route(t.Context(), stranger("a0@example.test"))
	if got := show(res); got != "out x@example.org" {
		t.Errorf("%s (%v)", got, res.Cause)
	}
}

func TestSet(t *testing.T) {
	var s set[int]
	for round := range 2 {
		for i := range 20 {
			if s.add(i) != (round == 0) {
				t.Errorf("round %d: add(%d) is wrong", round, i)
			}
		}
	}
}

func TestLower(t *testing.T) {
	for in, want := range map[string]string{"": "", "abc": "abc", "aBZ@[": "abz@[", "ÄB\xff": "Äb\xff"} {
		if got := lower(in); got != want {
			t.Errorf("lower(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	users := people{"alice": "/nonexistent"}
	r := newRouter(users, &config.Action{})
	aliased := newRouter(users, &config.Action{Alias: mapping("postmaster", "root", "root", "alice")})
	for _, bm := range []struct {
		name string
		r    *Router
		f    *Facts
	}{
		{"user", r, stranger("alice@example.test")},
		{"alias", aliased, stranger("postmaster@example.test")},
		{"relay", r, &Facts{Local: true, RcptTo: mbox("x@example.org")}},
		{"refused", r, stranger("x@example.org")},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bm.r.Route(b.Context(), bm.f)
			}
		})
	}
}

// TestRouteAllocations keeps the benchmark's figure: the expansion, its list
// of envelopes and the path of the .forward.
func TestRouteAllocations(t *testing.T) {
	const limit = 5
	r := newRouter(people{"alice": "/nonexistent"}, &config.Action{})
	f := stranger("alice@example.test")
	if n := testing.AllocsPerRun(100, func() { r.Route(t.Context(), f) }); n > limit {
		t.Errorf("%v allocations for a plain recipient, limit %d", n, limit)
	}
}
