package delivery

import (
	"strings"
	"testing"
)

// BenchmarkDotEncoder makes a chunk ready for the wire: CR LF, and a second dot
// before the lines that begin with one.
func BenchmarkDotEncoder(b *testing.B) {
	for name, line := range map[string]string{"plain": strings.Repeat("x", 76) + "\n", "dots": "." + strings.Repeat("x", 75) + "\n", "short": "xy\n"} {
		b.Run(name, func(b *testing.B) {
			in := []byte(strings.Repeat(line, 32<<10/len(line)))
			out := make([]byte, 0, 2*len(in))
			var d dotEncoder
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.append(out[:0], in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
