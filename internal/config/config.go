// Package config reads the configuration: the grammar of smtpd.conf(5) as of
// OpenSMTPD 7.8 with added words, into one checked Config.
//
// Errors carry file, line and column, what was found and what was expected;
// all errors of a file are reported, not only the first. Words that are known
// and not supported yet are refused as such, never ignored. The package opens
// tables and looks at certificates, and does nothing else with what it reads.
package config
