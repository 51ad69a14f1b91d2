/* The filter of protocol/transcripts/README.md. */
#include <stdlib.h>
#include <string.h>

#include "smtpd-api.h"

struct state {
	int	no_data, refuse;
};

static struct state *
state(uint64_t id)
{
	struct state *st = filter_api_get_udata(id);

	if (st == NULL) {
		st = calloc(1, sizeof *st);
		if (st == NULL)
			fatal("state");
		filter_api_set_udata(id, st);
	}
	return st;
}

static int
decide(uint64_t id, const char *argument)
{
	if (strstr(argument, "refused") != NULL)
		return filter_api_reject_code(id, FILTER_FAIL, 550, "5.7.1 refused by the filter");
	if (strstr(argument, "later") != NULL)
		return filter_api_reject_code(id, FILTER_FAIL, 451, "4.7.1 later, says the filter");
	if (strstr(argument, "dropped") != NULL)
		return filter_api_reject_code(id, FILTER_CLOSE, 421, "4.7.0 dropped by the filter");
	return filter_api_accept(id);
}

static int
on_connect(uint64_t id, struct filter_connect *conn)
{
	return decide(id, conn->hostname);
}

static int
on_helo(uint64_t id, const char *helo)
{
	return decide(id, helo);
}

static int
on_mail(uint64_t id, struct mailaddr *mail)
{
	state(id)->no_data = strcmp(mail->user, "no-data") == 0;
	state(id)->refuse = 0;
	return decide(id, filter_api_mailaddr_to_text(mail));
}

static int
on_rcpt(uint64_t id, struct mailaddr *rcpt)
{
	return decide(id, filter_api_mailaddr_to_text(rcpt));
}

static int
on_data(uint64_t id)
{
	if (state(id)->no_data)
		return filter_api_reject_code(id, FILTER_FAIL, 550, "5.7.1 no data from there");
	return filter_api_accept(id);
}

static void
on_dataline(uint64_t id, const char *line)
{
	if (strcmp(line, "X-Refuse: yes") == 0)
		state(id)->refuse = 1;
	if (strncmp(line, "X-Drop:", 7) == 0)
		return;
	filter_api_writeln(id, line);
	if (strncmp(line, "X-Double:", 9) == 0)
		filter_api_writeln(id, line);
}

static int
on_eom(uint64_t id, size_t size)
{
	(void)size;
	if (state(id)->refuse)
		return filter_api_reject_code(id, FILTER_FAIL, 550, "5.7.1 refused for what it says");
	return filter_api_accept(id);
}

static void
on_disconnect(uint64_t id)
{
	free(filter_api_get_udata(id));
}

int
main(void)
{
	filter_api_no_chroot();
	filter_api_on_connect(on_connect);
	filter_api_on_helo(on_helo);
	filter_api_on_mail(on_mail);
	filter_api_on_rcpt(on_rcpt);
	filter_api_on_data(on_data);
	filter_api_on_dataline(on_dataline);
	filter_api_on_eom(on_eom);
	filter_api_on_disconnect(on_disconnect);
	filter_api_loop();
}
