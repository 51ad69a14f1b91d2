package smtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReplyWire(t *testing.T) {
	ehlo, err := Lines(250, "", "mx.example.test Hello x", "8BITMIME", "SIZE 36700160", "HELP")
	if err != nil {
		t.Fatal(err)
	}
	help, err := Lines(214, "2.0.0", "This is weir", "End of HELP info")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		r    Reply
		want string
	}{
		{MustReply(250, "2.0.0", "Ok"), "250 2.0.0 Ok\r\n"},
		{MustReply(334, "", ""), "334 \r\n"},
		{MustReply(250, "2.0.0", ""), "250 2.0.0\r\n"},
		{MustReply(550, "", "No\tway \xc3\xa9\xff"), "550 No\tway \xc3\xa9\xff\r\n"},
		{ehlo, "250-mx.example.test Hello x\r\n250-8BITMIME\r\n250-SIZE 36700160\r\n250 HELP\r\n"},
		{help, "214-2.0.0 This is weir\r\n214 2.0.0 End of HELP info\r\n"},
		{Reply{}, ""},
	} {
		if got := string(tc.r.AppendWire([]byte("x"))); got != "x"+tc.want {
			t.Errorf("got %q, want %q", got, "x"+tc.want)
		}
		var lines strings.Builder
		tc.r.EachLine(func(l string) { lines.WriteString(l + "\r\n") })
		if lines.String() != tc.want {
			t.Errorf("EachLine gave %q, want %q", lines.String(), tc.want)
		}
	}
}

// RFC 5321 s4.5.3.1.5: no reply line above 512 octets.
func TestReplyWraps(t *testing.T) {
	const room = MaxReplyLine - len("550 5.7.1 \r\n")
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"fits exactly", strings.Repeat("x", room), []string{strings.Repeat("x", room)}},
		{"one too many, no space", strings.Repeat("x", room+1), []string{strings.Repeat("x", room), "x"}},
		{"space right behind the room", strings.Repeat("x", room) + " y", []string{strings.Repeat("x", room), "y"}},
		{"last space", "a b " + strings.Repeat("x", room), []string{"a b", strings.Repeat("x", room)}},
		{"not within a character", strings.Repeat("x", room-1) + "\u00e9y", []string{strings.Repeat("x", room-1), "\u00e9y"}},
		{"no UTF-8", strings.Repeat("\x80", room+1), []string{strings.Repeat("\x80", room-4), strings.Repeat("\x80", 5)}},
	} {
		var got []string
		MustReply(550, "5.7.1", tc.text).EachLine(func(l string) { got = append(got, l) })
		if len(got) != len(tc.want) {
			t.Errorf("%s: %d lines, want %d", tc.name, len(got), len(tc.want))
			continue
		}
		for i, l := range got {
			sep := "-"
			if i == len(got)-1 {
				sep = " "
			}
			if want := "550" + sep + "5.7.1 " + tc.want[i]; l != want {
				t.Errorf("%s: line %d is %q, want %q", tc.name, i, l, want)
			}
		}
	}
}

func TestReplyRefuses(t *testing.T) {
	for _, tc := range []struct {
		code           int
		enhanced, text string
	}{
		{199, "", "x"}, {600, "", "x"}, {0, "", "x"}, {-1, "", "x"},
		{550, "4.7.1", "x"}, {550, "5.7", "x"}, {550, "5.7.1.", "x"}, {550, "5.7.1234", "x"}, {550, "5..1", "x"},
		{550, "5.7.x", "x"}, {334, "3.0.0", "x"},
		{550, "", "a\r\nb"}, {550, "", "a\nb"}, {550, "", "a\x00"}, {550, "", "\x1b["}, {550, "", "\x7f"},
	} {
		if r, err := NewReply(tc.code, tc.enhanced, tc.text); !errors.Is(err, ErrReply) || !r.IsZero() {
			t.Errorf("NewReply(%d, %q, %q) gave %v, %v", tc.code, tc.enhanced, tc.text, r, err)
		}
	}
	if _, err := Lines(250, ""); !errors.Is(err, ErrReply) {
		t.Errorf("a reply without a line: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustReply took a wrong constant")
		}
	}()
	MustReply(550, "4.7.1", "x")
}

func TestParseReply(t *testing.T) {
	for _, tc := range []struct {
		in, enhanced, text string
	}{
		{"550 5.7.1 filter says no", "5.7.1", "filter says no"},
		{"550 5.7.1 a|b|c", "5.7.1", "a|b|c"},
		{"550 no", "", "no"},
		{"451 4.7.1 later", "4.7.1", "later"},
		{"550 4.7.1 other class", "", "4.7.1 other class"},
		{"550 5.7.1", "", "5.7.1"},
		{"550 5.7.1 ", "", "5.7.1 "},
		{"550 5.7.1  two", "5.7.1", " two"},
		{"550  two", "", " two"},
		{"421 4.999.999 x", "4.999.999", "x"},
		{"550 \xc3\xa9\xff", "", "\xc3\xa9\xff"},
		{"599 x", "", "x"},
	} {
		r, err := ParseReply(tc.in)
		if err != nil || r.Enhanced() != tc.enhanced || r.Text() != tc.text || r.String() != tc.in {
			t.Errorf("%q gave %q, %q, %q, %v", tc.in, r.Enhanced(), r.Text(), r.String(), err)
		}
	}
	for _, in := range []string{
		"", "550", "550 ", "550-multi", "250 fine", "354 x", "no code here", "5500 x", "55 x", "650 x", "550\tx", "5a0 x",
		"550 a\nb", "550 a\r", "550 a\x00b", " 550 x",
	} {
		if r, err := ParseReply(in); !errors.Is(err, ErrReply) || !r.IsZero() {
			t.Errorf("%q gave %v, %v", in, r, err)
		}
	}
}

func TestReplyClasses(t *testing.T) {
	for _, tc := range []struct {
		code                           int
		positive, transient, permanent bool
	}{{250, true, false, false}, {354, true, false, false}, {421, false, true, false}, {599, false, false, true}} {
		r := MustReply(tc.code, "", "x")
		if r.IsPositive() != tc.positive || r.IsTransient() != tc.transient || r.IsPermanent() != tc.permanent || r.Code() != tc.code {
			t.Errorf("%d: %v %v %v", r.Code(), r.IsPositive(), r.IsTransient(), r.IsPermanent())
		}
		if r.Closes() || !r.ThenClose().Closes() || r.Closes() {
			t.Errorf("%d: ThenClose changed the reply or did nothing", tc.code)
		}
	}
	if z := (Reply{}); z.IsPositive() || z.IsTransient() || z.IsPermanent() {
		t.Error("no reply has a class")
	}
}

func TestReadReply(t *testing.T) {
	long := strings.Repeat("x", DefaultReplyLine-4)
	for _, tc := range []struct {
		name, in       string
		code           int
		enhanced, text string
	}{
		{"one line", "250 2.1.0 Ok\r\n", 250, "2.1.0", "Ok"},
		{"several lines", "250-mx\r\n250-SIZE 1\r\n250 HELP\r\n", 250, "", "mx\nSIZE 1\nHELP"},
		{"enhanced code on each line", "550-5.7.1 a\r\n550 5.7.1 b\r\n", 550, "5.7.1", "a\nb"},
		{"another enhanced code stays", "550-5.7.1 a\r\n550 5.7.2 b\r\n", 550, "5.7.1", "a\n5.7.2 b"},
		{"LF alone", "250-a\n250 b\n", 250, "", "a\nb"},
		{"codes without text", "550-5.7.1 a\r\n550 5.7.1\r\n", 550, "5.7.1", "a\n"},
		{"enhanced code without text", "250 2.1.0\r\n", 250, "2.1.0", ""},
		{"code alone", "250\r\n", 250, "", ""},
		{"no text", "334 \r\n", 334, "", ""},
		{"control bytes", "550 a\x00b\x1b\rc\td\r\n", 550, "", "a?b??c\td"},
		{"no UTF-8", "550 \xff\x00\xfe\r\n", 550, "", "\xff?\xfe"},
		{"longest line", "250 " + long + "\r\n", 250, "", long},
		{"most lines", strings.Repeat("250-a\r\n", DefaultReplyLines-1) + "250 a\r\n", 250, "", strings.Repeat("a\n", DefaultReplyLines-1) + "a"},
	} {
		for _, size := range []int{16, 512, 8192} {
			br := bufio.NewReaderSize(strings.NewReader(tc.in+"rest"), size)
			r, err := ReadReply(br, ReplyLimits{})
			if err != nil || r.Code() != tc.code || r.Enhanced() != tc.enhanced || r.Text() != tc.text {
				t.Errorf("%s, buffer of %d: %v %q %.40q %v", tc.name, size, r.Code(), r.Enhanced(), r.Text(), err)
				continue
			}
			if rest, _ := io.ReadAll(br); string(rest) != "rest" {
				t.Errorf("%s, buffer of %d: %q is left", tc.name, size, rest)
			}
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.EOF},
		{"half a line", "250 O", io.ErrUnexpectedEOF},
		{"half a reply", "250-a\r\n", io.ErrUnexpectedEOF},
		{"no code", "hello\r\n", ErrServerReply},
		{"empty line", "\r\n", ErrServerReply},
		{"code 1yz", "150 x\r\n", ErrServerReply},
		{"code 6yz", "650 x\r\n", ErrServerReply},
		{"four digits", "2500 x\r\n", ErrServerReply},
		{"codes differ", "250-a\r\n251 b\r\n", ErrServerReply},
		{"line too long", "250 " + strings.Repeat("x", DefaultReplyLine-3) + "\r\n", ErrServerReply},
		{"endless line", strings.Repeat("2", 100000), ErrServerReply},
		{"too many lines", strings.Repeat("250-a\r\n", DefaultReplyLines) + "250 a\r\n", ErrServerReply},
	} {
		for _, size := range []int{16, 8192} {
			r, err := ReadReply(bufio.NewReaderSize(strings.NewReader(tc.in), size), ReplyLimits{})
			if !errors.Is(err, tc.want) || !r.IsZero() {
				t.Errorf("%s, buffer of %d: %v, %v, want %v", tc.name, size, r, err, tc.want)
			}
		}
	}
	if _, err := ReadReply(bufio.NewReader(strings.NewReader("250-a\r\n250 b\r\n")), ReplyLimits{Lines: 1}); !errors.Is(err, ErrServerReply) {
		t.Errorf("limit of one line: %v", err)
	}
	if _, err := ReadReply(bufio.NewReader(strings.NewReader("250 abc\r\n")), ReplyLimits{Line: 6}); !errors.Is(err, ErrServerReply) {
		t.Errorf("limit of 6 octets: %v", err)
	}
}

func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 2.0.0 Ok\r\n", "250-a\n250 b\n", "550-5.7.1 x\r\n550 5.7.1 y\r\n", "250", "334 \r\n", "9\r\n", "250-a\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := ReadReply(bufio.NewReaderSize(strings.NewReader(in), 16), ReplyLimits{Line: 100, Lines: 5})
		if err != nil {
			return
		}
		// What was read can be sent, and reads the same again.
		again, err := ReadReply(bufio.NewReader(strings.NewReader(string(r.AppendWire(nil)))), ReplyLimits{})
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q read as %q and again as %q, %v", in, r.String(), again.String(), err)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, s := range []string{"550 5.7.1 no", "550 no", "550", "550-multi", "250 x", "", "451 \x00", "421 4.7.0 " + strings.Repeat("word ", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := ParseReply(in)
		if err != nil {
			return
		}
		if len(in) <= MaxReplyLine-2 && r.String() != in {
			t.Fatalf("%q prints as %q", in, r.String())
		}
		for line := range strings.SplitAfterSeq(string(r.AppendWire(nil)), "\r\n") {
			if len(line) > MaxReplyLine || strings.Count(line, "\n") > 1 {
				t.Fatalf("line %q", line)
			}
		}
	})
}
