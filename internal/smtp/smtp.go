// Package smtp is the vocabulary of the SMTP protocol, both sides of it:
// replies that cannot be built wrong, commands, paths and their parameters,
// lines that end in CR LF and nothing else, dot-stuffing.
//
// It is pure: no sockets, no files, no logging. RFC 5321 unless a comment
// says otherwise; package comments of the files name where we differ.
package smtp
