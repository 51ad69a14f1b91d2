// Package filter is the Go SDK for mail filters: programs that the server
// starts, asks at each step of an SMTP session and hands messages to, over
// the line protocol that protocol/FILTER.md specifies (0.6 and 0.7).
//
// There are two levels. The easy one is a function that is given a whole
// mail transaction and returns a decision:
//
//	func main() {
//		filter.Run(func(tx *filter.Transaction) filter.Decision {
//			if strings.HasSuffix(tx.From, "@spam.example") {
//				return filter.Reject(550, "5.7.1 not from there")
//			}
//			tx.AddHeader("X-Seen", "yes")
//			return filter.Proceed
//		})
//	}
//
// The full one is a Filter with a handler for each question, report and
// message that the program cares about; what has no handler is not
// registered and costs nothing. Questions may be answered at once or later,
// by any goroutine; a message is read and written as a stream.
//
// Handlers of one Filter are called by one goroutine, in the order of the
// server's lines, except message handlers and transaction functions, which
// run in a goroutine of their own for each message. A handler that takes
// long should answer from a goroutine that it starts.
//
// Mail is bytes: the package decodes nothing. Standard output is the
// protocol, so Run points os.Stdout at standard error, which the server logs.
// A panic in a handler ends the program, and that is as it should be: the
// server fails the mail that waited for it and starts it again.
//
// Package filtertest runs a Filter without a server.
package filter
