package sqlite

import (
	"fmt"
)

// The database.
//
// Rows stand in the order of the numbers of messages (seq; see queue.Key), not
// in that of their ids, which are scattered: new mail is then written and
// deleted at one end of the tables, however much is in them, and no index on
// ids is needed. The envelopes of the message with seq m have the seqs m<<20
// to m<<20 | 0xfffff.
//
// due says when an envelope is given out, and so which state it is in: it is
// next while the envelope waits, queue.Line.Until while it stands in a line,
// else dueClaimed or dueHeld. Claims are not written otherwise, since they end
// with the process that holds the lock of the directory.
//
// Times are microseconds since 1970.
const (
	applicationID = 0x77656972 // "weir", for file(1)

	envelopeBits = 20
	envelopeMask = 1<<envelopeBits - 1

	dueClaimed = 1<<62 + 0
	dueHeld    = 1<<62 + 1
)

// migrations lead from one version of the schema to the next. The version of
// a database is the number of those that it has seen (PRAGMA user_version).
// They are only ever added to.
var migrations = []string{
	`
CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value
) WITHOUT ROWID;
INSERT INTO meta VALUES ('counter', 0), ('writes', 0), ('key', randomblob(16));

CREATE TABLE message (
	seq           INTEGER PRIMARY KEY,
	id            INTEGER NOT NULL,
	sender_local  TEXT NOT NULL,
	sender_domain TEXT NOT NULL,
	size          INTEGER NOT NULL,
	received      INTEGER NOT NULL,
	session       INTEGER NOT NULL,
	helo          TEXT NOT NULL,
	source        TEXT NOT NULL,
	rdns          TEXT NOT NULL,
	auth_user     TEXT NOT NULL,
	tag           TEXT NOT NULL,
	flags         INTEGER NOT NULL, -- 1: 8BITMIME, 2: SMTPUTF8, 4: junk
	ret           INTEGER NOT NULL,
	envid         TEXT NOT NULL,
	body          BLOB              -- NULL: in a file
);

CREATE TABLE envelope (
	seq          INTEGER PRIMARY KEY,
	id           INTEGER NOT NULL,
	due          INTEGER NOT NULL,
	next         INTEGER NOT NULL,
	expires      INTEGER NOT NULL,
	attempts     INTEGER NOT NULL,
	warned       INTEGER NOT NULL,
	held         INTEGER NOT NULL,
	rcpt_local   TEXT NOT NULL,
	rcpt_domain  TEXT NOT NULL,
	dest_local   TEXT NOT NULL,
	dest_domain  TEXT NOT NULL,
	action       TEXT NOT NULL,
	local_user   TEXT NOT NULL,
	local_file   TEXT NOT NULL,
	local_command TEXT NOT NULL,
	notify       INTEGER NOT NULL,
	orcpt        TEXT NOT NULL,
	last_err     TEXT NOT NULL
);
CREATE INDEX envelope_due ON envelope (due);
`,
	// The line in which an envelope stands, NULL for none. Most stand in none,
	// and cost the index nothing.
	`
ALTER TABLE envelope ADD COLUMN line TEXT;
CREATE INDEX envelope_line ON envelope (line, next) WHERE line IS NOT NULL;
`,
}

// migrate brings the schema up to date.
func migrate(c *conn, path string) error {
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	app, err := c.number("PRAGMA application_id")
	if err != nil {
		return err
	}
	switch {
	case app != 0 && app != applicationID, app == 0 && version != 0:
		return fmt.Errorf("%s is a database of another program; choose another directory for the queue", path)
	case version > int64(len(migrations)):
		return fmt.Errorf("%s was written by a newer version of weir (schema %d, this one knows %d); run that version", path, version, len(migrations))
	}
	for ; version < int64(len(migrations)); version++ {
		step := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;\nCOMMIT;",
			migrations[version], applicationID, version+1)
		if err := c.exec(step); err != nil {
			_ = c.exec("ROLLBACK") // it failed for what err says
			return fmt.Errorf("bringing %s to schema %d: %w", path, version+1, err)
		}
	}
	return nil
}
