// Package peers runs weir with programs that others wrote: clients (swaks,
// Postfix's smtp-source), filters (Debian's opensmtpd-filter-*), and one that
// nobody wrote: kill -9.
//
// A program that is not installed leaves its tests out; "make deps" installs
// them. Nothing here leaves the loopback interface.
package peers
