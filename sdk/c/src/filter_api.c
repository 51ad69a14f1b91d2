/* The hooks, and the lines of protocol/FILTER.md (0.5 to 0.7) that call them. */
#include <sys/types.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define MAX_FIELDS	8

static struct {
	int	(*connect)(uint64_t, struct filter_connect *);
	int	(*helo)(uint64_t, const char *);
	int	(*mail)(uint64_t, struct mailaddr *);
	int	(*rcpt)(uint64_t, struct mailaddr *);
	int	(*data)(uint64_t);
	void	(*dataline)(uint64_t, const char *);
	int	(*eom)(uint64_t, size_t);
	void	(*reset)(uint64_t);
	void	(*disconnect)(uint64_t);
	void	(*commit)(uint64_t);
	void	(*rollback)(uint64_t);
} hook;

static const struct session	*event;		/* whose event hook runs */
static const char		*line_given;	/* what on_dataline was given, */
static size_t			 line_length;	/* which may hold NUL, and its length */

void filter_api_on_connect(int (*f)(uint64_t, struct filter_connect *)) { hook.connect = f; }
void filter_api_on_helo(int (*f)(uint64_t, const char *)) { hook.helo = f; }
void filter_api_on_mail(int (*f)(uint64_t, struct mailaddr *)) { hook.mail = f; }
void filter_api_on_rcpt(int (*f)(uint64_t, struct mailaddr *)) { hook.rcpt = f; }
void filter_api_on_data(int (*f)(uint64_t)) { hook.data = f; }
void filter_api_on_dataline(void (*f)(uint64_t, const char *)) { hook.dataline = f; }
void filter_api_on_eom(int (*f)(uint64_t, size_t)) { hook.eom = f; }
void filter_api_on_reset(void (*f)(uint64_t)) { hook.reset = f; }
void filter_api_on_disconnect(void (*f)(uint64_t)) { hook.disconnect = f; }
void filter_api_on_commit(void (*f)(uint64_t)) { hook.commit = f; }
void filter_api_on_rollback(void (*f)(uint64_t)) { hook.rollback = f; }

void
filter_api_set_udata(uint64_t id, void *data)
{
	struct session *s = session_find(id);

	if (s != NULL)
		s->udata = data;
}

void *
filter_api_get_udata(uint64_t id)
{
	const struct session *s = session_find(id);

	return s != NULL ? s->udata : NULL;
}

/* -- answers ------------------------------------------------------------- */

static void
put_result(const struct session *s, const char *token, const char *verdict)
{
	out_text("filter-result|");
	out_text(s->key);
	out_add("|", 1);
	out_text(token);
	out_add("|", 1);
	out_text(verdict);
	out_add("\n", 1);
}

static void
put_dataline(const struct session *s, const char *line, size_t n)
{
	out_text("filter-dataline|");
	out_text(s->key);
	out_add("|", 1);
	out_text(s->stream);
	out_add("|", 1);
	out_add(line, n);
	out_add("\n", 1);
}

int
settle(uint64_t id, const char *verdict)
{
	struct session	*s = session_find(id);
	char		 token[TOKEN_MAX];

	if (s == NULL)
		return 1;	/* the client left meanwhile */
	if (s->question[0] != '\0') {
		memcpy(token, s->question, sizeof token);
		s->question[0] = '\0';
		put_result(s, token, verdict);
	} else if (s->stage == ENDING) {
		free(s->verdict);
		s->verdict = xdup(verdict);
		s->stage = IDLE;
		put_dataline(s, ".", 1);
	} else if (event != s && !s->gone)
		fatalx("filter_api: session %s: no query is open: it was answered already, or never asked", s->key);
	return 1;
}

/*
 * The answers are an object file of their own in the library. Nothing here
 * needs them, so the linker takes it along only for a program that names one.
 * A program that names none can never answer, now or later: its hooks watch,
 * and a query goes on when its hook returns. Where the linker cannot tell, a
 * query without answer waits for the server's time limit.
 */
#ifdef __ELF__
#pragma weak filter_api_accept
#pragma weak filter_api_reject
#pragma weak filter_api_reject_code
#endif

static int
watches_only(void)
{
#ifdef __ELF__
	return filter_api_accept == NULL && filter_api_reject == NULL && filter_api_reject_code == NULL;
#else
	return 0;
#endif
}

/* A query hook has returned. */
static void
returned(uint64_t id)
{
	const struct session *s;

	if (watches_only() && (s = session_find(id)) != NULL && (s->question[0] != '\0' || s->stage == ENDING))
		settle(id, "proceed");
}

void
filter_api_writeln(uint64_t id, const char *line)
{
	struct session	*s = session_find(id);
	size_t		 n = line == line_given ? line_length : strlen(line);

	if (s == NULL || (s->stage == IDLE && s->gone))
		return;		/* the client left meanwhile */
	if (s->stage == IDLE)
		fatalx("filter_api_writeln: session %s has no message open: it is from the first on_dataline "
		    "to the answer of on_eom, and only with on_dataline", s->key);
	if (memchr(line, '\n', n) != NULL)
		fatalx("filter_api_writeln: one line, without its line end");
	out_text("filter-dataline|");
	out_text(s->key);
	out_add("|", 1);
	out_text(s->stream);
	/* RFC 5321 s4.5.2: a line that begins with a dot gets one more. */
	out_add("|.", line[0] == '.' && n > 0 ? 2 : 1);
	out_add(line, n);
	out_add("\n", 1);
}

/* -- the server's lines --------------------------------------------------- */

static void
broken(const char *want, const char *line)
{
	out_flush();
	fatalx("filter_api: the server broke the protocol: want %s, got '%.200s'", want, line);
}

/* Cut line at its first max - 1 bars; give how many fields there are. */
static int
split(char *line, char **field, int max)
{
	int n = 1;

	field[0] = line;
	while (n < max && (line = strchr(line, '|')) != NULL) {
		*line++ = '\0';
		field[n++] = line;
	}
	return n;
}

static struct session *
session_of(const char *key)
{
	size_t n = strspn(key, "0123456789abcdefABCDEF");

	if (n == 0 || n > 16 || key[n] != '\0')
		broken("a session of 16 hex digits", key);
	return session_get(strtoull(key, NULL, 16), key);
}

static void
set_token(char *to, const char *token)
{
	size_t n = strlen(token);

	if (n == 0 || n >= TOKEN_MAX)
		broken("a token of 16 hex digits", token);
	memcpy(to, token, n + 1);
}

/* One line of a message; n is the length of line, which may hold NUL. */
static void
data_line(struct session *s, const char *token, const char *line, size_t n)
{
	if (s->stage == IDLE) {
		set_token(s->stream, token);
		s->stage = OPEN;
		s->size = 0;
		s->gone = 0;
		free(s->verdict);
		s->verdict = NULL;
	}
	if (n == 1 && line[0] == '.') {
		/*
		 * The message is complete, and still open: on_eom may write more
		 * lines. Its answer closes it and waits for the commit question.
		 */
		if (hook.eom == NULL) {
			s->stage = IDLE;
			put_dataline(s, ".", 1);
			return;
		}
		s->stage = ENDING;
		hook.eom(s->id, s->size);
		returned(s->id);
		return;
	}
	if (n > 0 && line[0] == '.') {
		line++;
		n--;
	}
	s->size += n + 1;
	line_given = line;
	line_length = n;
	hook.dataline(s->id, line);
	line_given = NULL;
}

static void
on_connect(struct session *s, char *arg)
{
	struct filter_connect	*conn = s->conn, from_question;
	char			*address = strrchr(arg, '|');

	if (address != NULL)
		*address++ = '\0';
	if (conn == NULL) {
		conn = &from_question;
		parse_endpoint(&conn->local, "");
		parse_endpoint(&conn->remote, address != NULL ? address : "");
	}
	conn->hostname = arg;
	hook.connect(s->id, conn);
	if ((s = session_find(s->id)) != NULL) {
		free(s->conn);
		s->conn = NULL;
	}
}

static void
question(char *line, size_t length)
{
	char		*f[MAX_FIELDS], empty[1] = "";
	struct session	*s;
	struct mailaddr	 addr;
	const char	*phase;
	uint64_t	 id;
	int		 n = split(line, f, MAX_FIELDS);

	if (n < 7)
		broken("filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|ARGUMENT", line);
	if (n == 7)
		f[7] = empty;
	phase = f[4];
	s = session_of(f[5]);
	id = s->id;
	if (strcmp(phase, "data-line") == 0 && hook.dataline != NULL) {
		data_line(s, f[6], f[7], n == 7 ? 0 : length - (size_t)(f[7] - line));
		return;
	}
	if (strcmp(phase, "commit") == 0 && s->verdict != NULL) {	/* on_eom was asked at the dot */
		put_result(s, f[6], s->verdict);
		free(s->verdict);
		s->verdict = NULL;
		return;
	}
	set_token(s->question, f[6]);
	s->gone = 0;
	if (strcmp(phase, "connect") == 0 && hook.connect != NULL)
		on_connect(s, f[7]);
	else if ((strcmp(phase, "helo") == 0 || strcmp(phase, "ehlo") == 0) && hook.helo != NULL)
		hook.helo(s->id, f[7]);
	else if (strcmp(phase, "mail-from") == 0 && hook.mail != NULL) {
		parse_mailaddr(&addr, f[7], s->server);
		hook.mail(s->id, &addr);
	} else if (strcmp(phase, "rcpt-to") == 0 && hook.rcpt != NULL) {
		parse_mailaddr(&addr, f[7], s->server);
		hook.rcpt(s->id, &addr);
	} else if (strcmp(phase, "data") == 0 && hook.data != NULL)
		hook.data(s->id);
	else if (strcmp(phase, "commit") == 0 && hook.eom != NULL)
		hook.eom(s->id, (size_t)strtoull(f[7], NULL, 10));
	else if (strcmp(phase, "rset") == 0 && hook.reset != NULL) {
		event = s;
		hook.reset(s->id);
		event = NULL;
		if (s->question[0] != '\0')
			settle(s->id, "proceed");	/* an event to the filter, a question to the server */
	} else
		broken("a phase that was registered", phase);
	returned(id);
}

static void
tell(struct session *s, void (*f)(uint64_t))
{
	if (f == NULL)
		return;
	event = s;
	f(s->id);
	event = NULL;
}

/* What was open is nobody's question now. */
static void
give_up(struct session *s)
{
	s->gone = s->gone || s->question[0] != '\0' || s->stage != IDLE;
	s->question[0] = '\0';
	s->stage = IDLE;
	free(s->verdict);
	s->verdict = NULL;
}

static void
report(char *line)
{
	char		*f[7], empty[1] = "", *local, *remote;
	struct session	*s;
	int		 n = split(line, f, 7);

	if (n < 6)
		broken("report|VERSION|TIME|smtp-in|EVENT|SESSION", line);
	if (n == 6)
		f[6] = empty;
	s = session_of(f[5]);
	if (strcmp(f[4], "link-connect") == 0) {
		/* rdns|fcrdns|source|destination: count from the end. */
		if ((local = strrchr(f[6], '|')) == NULL)
			return;
		*local++ = '\0';
		if ((remote = strrchr(f[6], '|')) == NULL)
			return;
		free(s->conn);
		s->conn = xalloc(sizeof *s->conn);
		parse_endpoint(&s->conn->local, local);
		parse_endpoint(&s->conn->remote, remote + 1);
	} else if (strcmp(f[4], "link-greeting") == 0) {
		free(s->server);
		s->server = xdup(f[6]);
	} else if (strcmp(f[4], "tx-commit") == 0)
		tell(s, hook.commit);
	else if (strcmp(f[4], "tx-rollback") == 0) {
		give_up(s);
		tell(s, hook.rollback);
	} else if (strcmp(f[4], "link-disconnect") == 0) {
		give_up(s);
		tell(s, hook.disconnect);
		session_free(s);
	}
}

/* -- the handshake --------------------------------------------------------- */

static void
want(int wanted, const char *line)
{
	if (wanted)
		out_text(line);
}

static void
register_hooks(int size_offered)
{
	want(1, "register|report|smtp-in|link-disconnect\n");	/* it ends what we keep of a session */
	want(hook.connect != NULL, "register|report|smtp-in|link-connect\nregister|filter|smtp-in|connect\n");
	want(hook.mail != NULL || hook.rcpt != NULL, "register|report|smtp-in|link-greeting\n");
	want(hook.commit != NULL, "register|report|smtp-in|tx-commit\n");
	want(hook.rollback != NULL || hook.dataline != NULL, "register|report|smtp-in|tx-rollback\n");
	want(hook.helo != NULL, "register|filter|smtp-in|helo\nregister|filter|smtp-in|ehlo\n");
	want(hook.mail != NULL, "register|filter|smtp-in|mail-from\n");
	want(hook.rcpt != NULL, "register|filter|smtp-in|rcpt-to\n");
	want(hook.data != NULL, "register|filter|smtp-in|data\n");
	want(hook.dataline != NULL, "register|filter|smtp-in|data-line\n");
	want(hook.eom != NULL, "register|filter|smtp-in|commit\n");
	want(hook.reset != NULL, "register|filter|smtp-in|rset\n");
	want(size_offered && hook.eom != NULL && hook.dataline == NULL, "register|feature|message-size\n");
	out_text("register|ready\n");
}

/* Give 1 when the server is ready. */
static int
config(const char *line)
{
	static int size_offered;

	if (strncmp(line, "config|", 7) != 0)
		broken("config|... until config|ready", line);
	if (strcmp(line, "config|feature|message-size") == 0)
		size_offered = 1;
	if (strcmp(line, "config|ready") != 0)
		return 0;
	register_hooks(size_offered);
	return 1;
}

int
take_line(char *line, size_t n)
{
	static int ready;

	if (!ready)
		ready = config(line);
	else if (strncmp(line, "filter|", 7) == 0)
		question(line, n);
	else if (strncmp(line, "report|", 7) == 0)
		report(line);
	/* Other kinds may come with later versions: not for us. */
	return ready;
}
