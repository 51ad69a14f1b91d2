// Package house holds tests over the tree itself: that imports follow the
// mail, that each package says what it is, that files and functions stay of a
// size that can be read. It has no code of its own.
//
// docs/decisions and CONTRIBUTING.md have the reasons for the rules; what is
// above a budget for a reason is on the lists in budgets_test.go, with it.
package house
