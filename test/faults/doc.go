// Package faults runs the real server with filters that misbehave in every way
// we know, and looks at who notices: the mail that waited for the filter gets
// its failure policy, and nobody else anything.
//
// The filter is the program in misbehave. With WEIR_FAULTS_LONG=1 each fault is
// tried with each policy, filters are killed for five minutes instead of a few
// seconds, and filters that go wrong at random for four, each time others:
// WEIR_CHAOS_SEED gives the same again.
package faults
