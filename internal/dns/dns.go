// Package dns looks up names for the server, with bounds on time, and lets
// tests put their own answers in.
package dns
