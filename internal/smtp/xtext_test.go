package smtp

import (
	"errors"
	"testing"
)

func TestDecodeXtext(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "abc": "abc", "abc+3D123": "abc=123", "+2B+2B": "++", "a+0D+0Ab": "a\r\nb", "+FF": "\xff", "alice@example.test": "alice@example.test",
	} {
		if got, err := DecodeXtext(in); err != nil || got != want {
			t.Errorf("%q gave %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"+", "+3", "a+3d", "+GG", "a b", "a=b", "\x7f", "\xc3\xa9", "a\n"} {
		if got, err := DecodeXtext(in); !errors.Is(err, ErrXtext) {
			t.Errorf("%q gave %q, %v", in, got, err)
		}
	}
}
