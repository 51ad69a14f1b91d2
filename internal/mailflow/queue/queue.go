// Package queue keeps accepted mail until it is delivered, returned or removed.
//
// Accepted means durable: Commit returns nil only when the message and all of
// its envelopes would survive a crash of process and machine. The package
// decides when an envelope is tried, with growing intervals, and what happens
// when that fails for good (a delivery report, RFC 3464). How an attempt is
// made is the Deliverer's business, how things are stored a Store's; package
// sqlite below has the embedded one.
package queue
