/*
 * The test double: in the place of loop.c and output.c it asks what a test
 * asks and keeps what the filter says.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filtertest.h"
#include "session.h"

#define HEAD "|0.7|1700000000.000000|smtp-in|"

static char	*said, *message, *answer;	/* all lines, what came out, the last answer */
static size_t	 saidlen, saidroom;
static uint64_t	 sessions, tokens;
static int	 failed;
static char	 client[512];	/* of the newest session: HOSTNAME|ADDRESS */

void filter_api_set_chroot(const char *dir) { (void)dir; }
void filter_api_no_chroot(void) { }
void filter_api_setugid(uid_t u, gid_t g) { (void)u; (void)g; }

void out_begin(int fd) { (void)fd; }
void out_flush(void) { }
void out_text(const char *s) { out_add(s, strlen(s)); }

void
out_add(const char *p, size_t n)
{
	if (saidlen + n + 1 > saidroom) {
		saidroom = 2 * (saidlen + n + 1);
		if ((said = realloc(said, saidroom)) == NULL)
			fatal("filtertest: no memory");
	}
	memcpy(said + saidlen, p, n);
	saidlen += n;
	said[saidlen] = '\0';
}

static void tell(const char *, ...) LOG_FORMAT(1, 2);

/* Give the filter one line. */
static void
tell(const char *fmt, ...)
{
	va_list	 ap;
	char	*line;
	int	 n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	line = xalloc((size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(line, (size_t)n + 1, fmt, ap);
	va_end(ap);
	take_line(line, (size_t)n);
	free(line);
}

static int
registered(const char *kind, const char *name)
{
	char line[128];

	snprintf(line, sizeof line, "register|%s|smtp-in|%s\n", kind, name);
	return strstr(said, line) != NULL;
}

static void
report(uint64_t id, const char *event, const char *rest)
{
	if (registered("report", event))
		tell("report" HEAD "%s|%016" PRIx64 "%s", event, id, rest);
}

const char *
filtertest_answer(uint64_t id)
{
	char	 head[64], *at;
	size_t	 n;

	snprintf(head, sizeof head, "\nfilter-result|%016" PRIx64 "|%016" PRIx64 "|", id, tokens);
	free(answer);
	if ((at = strstr(said, head)) == NULL)
		return answer = xdup("");
	at += strlen(head);
	n = strcspn(at, "\n");
	answer = xalloc(n + 1);
	memcpy(answer, at, n);
	if (strstr(at, head) != NULL)
		fatalx("filtertest: session %016" PRIx64 ": answered twice", id);
	return answer;
}

static const char *
ask(uint64_t id, const char *phase, const char *arg)
{
	if (!registered("filter", phase))
		return "proceed";
	tokens++;
	tell("filter" HEAD "%s|%016" PRIx64 "|%016" PRIx64 "|%s", phase, id, tokens, arg);
	return filtertest_answer(id);
}

uint64_t
filtertest_session(const char *hostname, const char *remote)
{
	char	 rest[512];
	int	 v6 = strchr(remote, ':') != NULL;

	snprintf(rest, sizeof rest, "|%s|pass|%s%s%s:4321|198.51.100.1:25", hostname, v6 ? "[" : "", remote, v6 ? "]" : "");
	snprintf(client, sizeof client, "%s|%s%s%s", hostname, v6 ? "[" : "", remote, v6 ? "]" : "");
	report(++sessions, "link-connect", rest);
	report(sessions, "link-greeting", "|mx.example");
	return sessions;
}

const char *filtertest_connect(uint64_t id) { return ask(id, "connect", client); }
const char *filtertest_helo(uint64_t id, const char *name) { return ask(id, "ehlo", name); }
const char *filtertest_mail(uint64_t id, const char *address) { return ask(id, "mail-from", address); }
const char *filtertest_rcpt(uint64_t id, const char *address) { return ask(id, "rcpt-to", address); }
const char *filtertest_data(uint64_t id) { return ask(id, "data", ""); }
void filtertest_commit(uint64_t id) { report(id, "tx-commit", "|0badcafe|1"); }
void filtertest_rollback(uint64_t id) { report(id, "tx-rollback", "|0badcafe"); }
void filtertest_end(uint64_t id) { report(id, "link-disconnect", ""); }

void
filtertest_reset(uint64_t id)
{
	ask(id, "rset", "");
	filtertest_rollback(id);
}

/* Collect the lines with that head; give whether the lone dot was there. */
static int
collect(const char *head)
{
	const char	*at = said;
	size_t		 n, have = 0;

	free(message);
	message = xalloc(saidlen + 1);
	while ((at = strstr(at, head)) != NULL) {
		at += strlen(head);
		n = strcspn(at, "\n");
		if (n == 1 && *at == '.')
			return 1;
		if (*at == '.') {
			at++;
			n--;
		}
		memcpy(message + have, at, n);
		message[have + n] = '\n';
		have += n + 1;
		message[have] = '\0';
	}
	return 0;
}

const char *
filtertest_message(uint64_t id, const char *lines)
{
	const char	*at;
	char		 head[64], size[32];
	size_t		 n;

	free(message);
	message = xdup(lines);
	if (registered("filter", "data-line")) {
		tokens++;
		for (at = lines; *at != '\0'; at += at[n] == '\n' ? n + 1 : n) {
			n = strcspn(at, "\n");
			tell("filter" HEAD "data-line|%016" PRIx64 "|%016" PRIx64 "|%s%.*s", id, tokens,
			    *at == '.' ? "." : "", (int)n, at);
		}
		tell("filter" HEAD "data-line|%016" PRIx64 "|%016" PRIx64 "|.", id, tokens);
		snprintf(head, sizeof head, "\nfilter-dataline|%016" PRIx64 "|%016" PRIx64 "|", id, tokens);
		if (!collect(head))
			return "";
	}
	snprintf(size, sizeof size, "%zu", strlen(message));
	return ask(id, "commit", size);
}

const char *
filtertest_out(void)
{
	return message != NULL ? message : "";
}

void
filtertest_compare(const char *file, int line, const char *got, const char *want)
{
	if (strcmp(got, want) == 0)
		return;
	fprintf(stderr, "%s:%d: got \"%s\", want \"%s\"\n", file, line, got, want);
	failed = 1;
}

void
filter_api_loop(void)
{
	tell("config|feature|message-size");
	tell("config|ready");
	filtertest();
	free(said);
	free(message);
	free(answer);
	exit(failed);
}
