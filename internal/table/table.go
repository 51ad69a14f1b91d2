// Package table holds the lists and mappings of table(5): static ones from the
// configuration and plain text files.
//
// A file is read when the table is opened and again when it has changed on
// disk; a file that cannot be read again leaves the old content in force and
// the failure in the log. A Table is safe for concurrent use. What the entries
// mean (domains, networks, addresses, credentials) is said by the caller's
// choice of method.
package table
