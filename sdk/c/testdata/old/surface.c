/* Uses all that programs of the 5.7.1 API found in its three headers, in the
 * way in which they used it: plain cc, with includes.h first, no options. */
#include "includes.h"

#include <sys/types.h>
#include <sys/queue.h>

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd-defines.h"
#include "smtpd-api.h"
#include "log.h"

struct word {
	SIMPLEQ_ENTRY(word)	 next;
	char			*text;
};
static SIMPLEQ_HEAD(, word)	 words = SIMPLEQ_HEAD_INITIALIZER(words);
static struct tree		 sessions;
static struct dict		 seen;
static const char		*names[] = { "a", "b" };

struct state {
	char	from[SMTPD_MAXLOCALPARTSIZE + SMTPD_MAXDOMAINPARTSIZE];
	char	helo[SMTPD_MAXHOSTNAMELEN];
	size_t	lines;
};

static struct state *
state(uint64_t id)
{
	struct state *st = tree_get(&sessions, id);

	if (st == NULL) {
		st = xcalloc(1, sizeof *st, "state");
		tree_xset(&sessions, id, st);
	}
	return st;
}

static int
on_connect(uint64_t id, struct filter_connect *conn)
{
	struct sockaddr_in	*in = (struct sockaddr_in *)&conn->remote;
	char			 host[NI_MAXHOST];

	if (conn->remote.ss_family == AF_INET &&
	    getnameinfo((struct sockaddr *)in, sizeof *in, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0)
		log_info("info: session %016"PRIx64": %s is %08x", id, host, ntohl(in->sin_addr.s_addr));
	return filter_api_accept(id);
}

static int
on_helo(uint64_t id, const char *helo)
{
	strlcpy(state(id)->helo, helo, SMTPD_MAXHOSTNAMELEN);
	return filter_api_accept(id);
}

static int
on_mail(uint64_t id, struct mailaddr *mail)
{
	struct word *w;

	if (strlen(mail->user) || strlen(mail->domain))
		snprintf(state(id)->from, sizeof state(id)->from, "%s@%s", mail->user, mail->domain);
	SIMPLEQ_FOREACH(w, &words, next)
		if (strcasecmp(w->text, mail->domain) == 0)
			return filter_api_reject_code(id, FILTER_CLOSE, 666, "I am a monkey!");
	return filter_api_accept(id);
}

static int
on_rcpt(uint64_t id, struct mailaddr *rcpt)
{
	if (dict_set(&seen, filter_api_mailaddr_to_text(rcpt), state(id)) != NULL)
		log_trace(TRACE_FILTERS, "again");
	return filter_api_accept(id);
}

static void
on_dataline(uint64_t id, const char *line)
{
	state(id)->lines++;
	filter_api_writeln(id, line);
}

static int
on_eom(uint64_t id, size_t size)
{
	const char	*key;
	void		*iter = NULL;
	char		 text[64];

	if (base64_encode((const unsigned char *)"weir\n", 5, text, sizeof text) == -1)
		return filter_api_reject(id, FILTER_FAIL);
	while (dict_iter(&seen, &iter, &key, NULL))
		log_info("info: seen %s", key);
	log_info("info: %zu bytes, %zu lines, %zu sessions, %s", size, state(id)->lines, tree_count(&sessions), text);
	return filter_api_accept(id);
}

static void
on_disconnect(uint64_t id)
{
	free(tree_pop(&sessions, id));
}

int
main(int argc, char **argv)
{
	struct word	*w;
	const char	*errstr, *limit = " 20 ";
	char		*copy;
	int		 ch, d = 0, v = 0;
	long long	 n;

	log_init(1);
	while ((ch = getopt(argc, argv, "dv")) != -1) {
		switch (ch) {
		case 'd':
			d = 1;
			break;
		case 'v':
			v |= TRACE_DEBUG | TRACE_FILTERS;
			break;
		default:
			fatalx("bad option");
			/* NOTREACHED */
		}
	}
	argc -= optind;
	argv += optind;
	log_init(d);
	log_verbose(v);

	copy = xstrdup(limit, "main");
	n = strtonum(strip(copy), 1, SIZE_MAX > INT_MAX ? INT_MAX : 1, &errstr);
	if (errstr)
		fatalx("limit is %s", errstr);
	free(copy);
	log_debug("debug: %zu names, limit %lld", nitems(names), n);
	tree_init(&sessions);
	dict_init(&seen);
	w = xmalloc(sizeof *w, "main");
	w->text = xstrdup("monkey.example", "main");
	SIMPLEQ_INSERT_TAIL(&words, w, next);

	filter_api_on_connect(on_connect);
	filter_api_on_helo(on_helo);
	filter_api_on_mail(on_mail);
	filter_api_on_rcpt(on_rcpt);
	filter_api_on_dataline(on_dataline);
	filter_api_on_eom(on_eom);
	filter_api_on_disconnect(on_disconnect);
	filter_api_no_chroot();
	filter_api_loop();
	log_debug("debug: exiting");
	return 1;
}
