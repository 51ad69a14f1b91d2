// Package protocol carries the transcripts of the filter protocol, so that a
// program can hold them: weir filter check plays them without a checkout at
// hand. FILTER.md beside it is the specification; there is no code here.
package protocol

import "embed"

// Transcripts holds the files transcripts/*.txt, whole sessions as text;
// transcripts/README.md describes their form.
//
//go:embed transcripts/*.txt
var Transcripts embed.FS
