package delivery

import (
	"bytes"
	"errors"
	"sync"
)

// errBareCR is what a message ends with that cannot be sent as lines: a CR of
// its own could be taken for a line end by the next server, and the text after
// it for a command (RFC 5321 s2.3.8).
var errBareCR = errors.New("the message has a CR that is not part of a line end")

// dotEncoder turns a message with LF line ends into what follows DATA: CR LF
// line ends, and a dot before each line that begins with one (RFC 5321
// s4.5.2). The message may come in pieces of any size.
type dotEncoder struct {
	mid bool // the next byte is not the first of a line
}

// append appends the encoded form of p.
func (d *dotEncoder) append(dst, p []byte) ([]byte, error) {
	if bytes.IndexByte(p, '\r') >= 0 {
		return dst, errBareCR
	}
	for len(p) > 0 {
		if !d.mid && p[0] == '.' {
			dst = append(dst, '.')
		}
		i := bytes.IndexByte(p, '\n')
		if d.mid = i < 0; d.mid {
			return append(dst, p...), nil
		}
		dst = append(dst, p[:i]...)
		dst = append(dst, '\r', '\n')
		p = p[i+1:]
	}
	return dst, nil
}

// end appends the end of the message, after ending its last line.
func (d *dotEncoder) end(dst []byte) []byte {
	if d.mid {
		dst = append(dst, '\r', '\n')
	}
	return append(dst, '.', '\r', '\n')
}

// maxWire bounds the buffers that are kept: a message of dots alone makes one
// grow to three times its chunk.
const maxWire = 2 * chunkSize

// wires holds buffers for encoded chunks.
var wires = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize+chunkSize/16); return &b }}
