// Package faults runs the real server with filters that misbehave in every way
// we know, and looks at who notices: the mail that waited for the filter gets
// its failure policy, and nobody else anything.
//
// The filter is the program in misbehave. WEIR_FAULTS_LONG=1 lets filters be
// killed for five minutes instead of a few seconds.
package faults
