// Package dialogs holds what the whole server is measured by: what a client
// says, what must come back, what filters are told and what is delivered.
//
// golden/ has sessions recorded from OpenSMTPD with the scripts that made
// them; golden_test.go runs the scripts against weir and compares. Where weir
// differs on purpose, differences.txt names the case and the entry of
// docs/differences.md, and expected/ has the outcome that was reviewed.
// The .txt files beside it are dialogs of our own; dialog_test.go reads them
// and README.md says how they are written.
package dialogs
