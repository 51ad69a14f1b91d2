/*
 * nullfilter noop: asks for every phase of a transaction and lets all proceed.
 * nullfilter data: asks for the lines of messages and gives each back.
 *
 * All that one read gives is answered with one write, so that this end of the
 * pipe costs as little as it can.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

static char in[ROOM], out[ROOM + 64];
static size_t used;

static void
send_all(void)
{
	size_t sent = 0;

	while (sent < used) {
		ssize_t n = write(STDOUT_FILENO, out + sent, used - sent);
		if (n <= 0)
			_exit(1);
		sent += n;
	}
	used = 0;
}

static void
add(const char *p, size_t n)
{
	if (used + n > ROOM)
		send_all();
	memcpy(out + used, p, n);
	used += n;
}

static void
text(const char *s)
{
	add(s, strlen(s));
}

static void
hello(int data)
{
	static const char *phases[] = {
		"connect", "helo", "ehlo", "mail-from", "rcpt-to", "data", "commit"
	};

	if (data)
		text("register|filter|smtp-in|data-line\n");
	else
		for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
			text("register|filter|smtp-in|");
			text(phases[i]);
			text("\n");
		}
	text("register|ready\n");
}

/* filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN[|ARGUMENT] */
static void
answer(const char *line, const char *end)
{
	const char *phase, *session, *rest = line;
	int data;

	for (int i = 0; i < 4; i++) {
		if ((rest = memchr(rest, '|', end - rest)) == NULL)
			return;
		rest++;
	}
	phase = rest;
	if ((session = memchr(phase, '|', end - phase)) == NULL)
		return;
	data = session - phase == 9 && memcmp(phase, "data-line", 9) == 0;
	session++;
	/* SESSION|TOKEN, and with data|LINE, stand in the answer as they came */
	if ((rest = memchr(session, '|', end - session)) == NULL)
		return;
	if (data) {
		text("filter-dataline|");
		add(session, end - session);
		text("\n");
		return;
	}
	if ((rest = memchr(rest + 1, '|', end - rest - 1)) == NULL)
		rest = end;
	text("filter-result|");
	add(session, rest - session);
	text("|proceed\n");
}

int
main(int argc, char **argv)
{
	int data = argc > 1 && strcmp(argv[1], "data") == 0;
	size_t have = 0;
	ssize_t n;

	while ((n = read(STDIN_FILENO, in + have, sizeof in - have)) > 0) {
		char *line = in, *nl;

		have += n;
		while ((nl = memchr(line, '\n', have - (line - in))) != NULL) {
			if (nl - line > 7 && memcmp(line, "filter|", 7) == 0)
				answer(line, nl);
			else if (nl - line == 12 && memcmp(line, "config|ready", 12) == 0)
				hello(data);
			line = nl + 1;
		}
		have -= line - in;
		memmove(in, line, have);
		if (have == sizeof in)
			return 1;
		send_all();
	}
	return 0;
}
