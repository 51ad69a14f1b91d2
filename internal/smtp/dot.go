package smtp

import "bytes"

var lfDot = []byte("\n.")

// Unescape takes the dot-escaping off a chunk of whole LF-ended lines, in
// place: of every line that begins with a dot that dot goes (RFC 5321
// s4.5.2). It gives the shortened chunk.
func Unescape(chunk []byte) []byte {
	var w, r int // chunk[:w] is done, chunk[r:] is to be looked at
	if len(chunk) > 0 && chunk[0] == '.' {
		r = 1
	}
	for {
		i := bytes.Index(chunk[r:], lfDot)
		if i < 0 {
			break
		}
		w += move(chunk[w:], chunk[r:r+i+1])
		r += i + 2
	}
	return chunk[:w+move(chunk[w:], chunk[r:])]
}

// move is copy, except that it does nothing where there is nothing to move.
func move(dst, src []byte) int {
	if len(src) > 0 && &dst[0] == &src[0] {
		return len(src)
	}
	return copy(dst, src)
}
