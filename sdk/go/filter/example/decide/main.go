// Decide is a filter that refuses mail by its sender and by a word in its
// subject, and marks what it lets through.
package main

import (
	"strings"

	"github.com/weirmail/weir/sdk/go/filter"
)

func main() { filter.Run(decide) }

func decide(tx *filter.Transaction) filter.Decision {
	if strings.HasSuffix(strings.ToLower(tx.From), "@spam.example") {
		return filter.Reject(550, "5.7.1 No mail from there, please")
	}
	if strings.Contains(strings.ToLower(tx.Header("Subject")), "lottery") {
		return filter.Reject(550, "5.7.1 No lottery here, please")
	}
	tx.AddHeader("X-Decide", "seen")
	return filter.Proceed
}
