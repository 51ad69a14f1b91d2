/* Refuses mail by its sender and by a word in its subject, and marks the rest. */
#include <stdlib.h>
#include <strings.h>

#include "smtpd-api.h"

/* What is known of a message; the header ends at the first empty line. */
struct state {
	int	body, lottery;
};

static void
forget(uint64_t id)
{
	free(filter_api_get_udata(id));
	filter_api_set_udata(id, NULL);
}

static int
on_mail(uint64_t id, struct mailaddr *mail)
{
	if (strcasecmp(mail->domain, "spam.example") == 0)
		return filter_api_reject_code(id, FILTER_FAIL, 550, "5.7.1 No mail from there, please");
	return filter_api_accept(id);
}

static void
on_dataline(uint64_t id, const char *line)
{
	struct state	*st = filter_api_get_udata(id);
	const char	*p;

	if (st == NULL) {
		st = xcalloc(1, sizeof *st, "decide");
		filter_api_set_udata(id, st);
		filter_api_writeln(id, "X-Decide: seen");
	}
	if (line[0] == '\0')
		st->body = 1;
	if (!st->body && strncasecmp(line, "Subject:", 8) == 0)
		for (p = line; *p != '\0'; p++)
			if (strncasecmp(p, "lottery", 7) == 0)
				st->lottery = 1;
	filter_api_writeln(id, line);
}

static int
on_eom(uint64_t id, size_t size)
{
	struct state	*st = filter_api_get_udata(id);
	int		 lottery = st != NULL && st->lottery;

	(void)size;
	forget(id);
	if (lottery)
		return filter_api_reject_code(id, FILTER_FAIL, 550, "5.7.1 No lottery here, please");
	return filter_api_accept(id);
}

int
main(void)
{
	filter_api_on_mail(on_mail);
	filter_api_on_dataline(on_dataline);
	filter_api_on_eom(on_eom);
	filter_api_on_rollback(forget);
	filter_api_on_disconnect(forget);
	filter_api_loop();
}
