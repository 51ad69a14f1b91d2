// Package docs tests the pages of the folder docs: what they tell a reader to
// write is written, what they tell to run is run, and what they tell to type
// is typed into a real server.
package docs
