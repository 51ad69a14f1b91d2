package smtp

// Reply is one reply of a server, of one or several lines. It can only be
// made by NewReply, Lines, ParseReply and the fixed replies of this package,
// so that it is always well formed: three digits, an enhanced code of the
// same class or none, text without CR, LF, NUL or other control bytes. The
// zero Reply is no reply.
type Reply struct {
	code     int
	enhanced string   // "5.7.1", or "" for none
	lines    []string // at least one; without code and enhanced code
	close    bool
}

// Code gives the three digits, 0 for the zero Reply.
func (r Reply) Code() int { return r.code }

// Closes reports whether the session ends after this reply.
func (r Reply) Closes() bool { return r.close }

// ThenClose gives r, after which the session ends.
func (r Reply) ThenClose() Reply { r.close = true; return r }
