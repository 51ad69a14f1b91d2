package trace

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/mail"
)

// logged gives what Log writes for e, without time.
func logged(t *testing.T, level slog.Level, e Event) string {
	t.Helper()
	var b bytes.Buffer
	h := slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	Log(slog.New(h)).Event(&e)
	return strings.TrimSuffix(b.String(), "\n")
}

func TestLogLine(t *testing.T) {
	tests := []struct {
		name  string
		level slog.Level
		event Event
		want  string
	}{
		{"accepted", slog.LevelInfo,
			Event{Kind: Accepted, Session: 1, Message: 2, Size: 195, Count: 1, Addr: mail.Address{Local: "a", Domain: "b"}},
			`level=INFO msg=accepted session=0000000000000001 message=00000002 from=a@b size=195 recipients=1`},
		{"accepted from the null path", slog.LevelInfo, Event{Kind: Accepted, Message: 2, Size: 1, Count: 1},
			`level=INFO msg=accepted message=00000002 from="" size=1 recipients=1`},
		{"cause", slog.LevelInfo, Event{Kind: Refused, Session: 1, Phase: "data", Text: "No", Cause: errors.New("disk gone")},
			`level=INFO msg=refused session=0000000000000001 phase=data text=No cause="disk gone"`},
		{"commands only when asked for", slog.LevelInfo, Event{Kind: ProtocolClient, Text: "NOOP"}, ``},
		{"commands", slog.LevelDebug, Event{Kind: ProtocolClient, Text: "NOOP"}, `level=DEBUG msg=protocol-client text=NOOP`},
		{"a long text", slog.LevelInfo, Event{Kind: FilterReport, Session: 1, Text: strings.Repeat("x", maxLogged+1)},
			`level=INFO msg=filter-report session=0000000000000001 text=` + strings.Repeat("x", maxLogged) + "..."},
		{"unknown kind", slog.LevelDebug, Event{Kind: 255}, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := logged(t, tt.level, tt.event); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestEveryKindHasALine(t *testing.T) {
	for k := LinkConnect; k <= BounceSent; k++ {
		if int(k) >= len(lines) || lines[k].msg == "" {
			t.Errorf("kind %d has no line", k)
		}
	}
}

type recorder []Kind

func (r *recorder) Event(e *Event) { *r = append(*r, e.Kind) }

func TestTee(t *testing.T) {
	var a, b recorder
	s := Tee(nil, &a, Discard, &b)
	s.Event(&Event{Kind: Timeout})
	if len(a) != 1 || len(b) != 1 || a[0] != Timeout {
		t.Errorf("told %v and %v, want both told once", a, b)
	}
	if Tee(nil, Discard) != Discard {
		t.Error("a tee of nothing is not Discard")
	}
	if Tee(&a) != Sink(&a) {
		t.Error("a tee of one is not that one")
	}
}
