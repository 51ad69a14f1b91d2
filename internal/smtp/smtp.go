// Package smtp is the vocabulary of the SMTP protocol, both sides of it:
// replies that cannot be built wrong, commands, paths and their parameters,
// lines that end in CR LF and nothing else, dot-stuffing.
//
// It is pure: no sockets, no files, no logging, no state of a session. RFC
// 5321 unless a comment says otherwise. It leaves the RFC where quoted local
// parts are refused (path.go), where unknown values of RET and NOTIFY count as
// not given (params.go), and where longer lines than asked for are taken.
//
// Message data is handed on in one form everywhere: chunks of whole lines that
// end in a single LF, dot-escaped as long as filters may see them.
package smtp
