/* Prints every callback with what it was given, and lets all mail through. */
#include <inttypes.h>
#include <stdio.h>

#include "smtpd-api.h"

static int
on_connect(uint64_t id, struct filter_connect *conn)
{
	printf("on_connect: 0x%" PRIx64 " %s", id, filter_api_sockaddr_to_text((struct sockaddr *)&conn->local));
	printf(" %s %s\n", filter_api_sockaddr_to_text((struct sockaddr *)&conn->remote), conn->hostname);
	return filter_api_accept(id);
}

static int
on_helo(uint64_t id, const char *helo)
{
	printf("on_helo: 0x%" PRIx64 " %s\n", id, helo);
	return filter_api_accept(id);
}

static int
on_mail(uint64_t id, struct mailaddr *mail)
{
	printf("on_mail: 0x%" PRIx64 " %s\n", id, filter_api_mailaddr_to_text(mail));
	return filter_api_accept(id);
}

static int
on_rcpt(uint64_t id, struct mailaddr *rcpt)
{
	printf("on_rcpt: 0x%" PRIx64 " %s\n", id, filter_api_mailaddr_to_text(rcpt));
	return filter_api_accept(id);
}

static int
on_data(uint64_t id)
{
	printf("on_data: 0x%" PRIx64 "\n", id);
	return filter_api_accept(id);
}

static void
on_dataline(uint64_t id, const char *line)
{
	printf("on_dataline: 0x%" PRIx64 " %s\n", id, line);
	filter_api_writeln(id, line);
}

static int
on_eom(uint64_t id, size_t size)
{
	printf("on_eom: 0x%" PRIx64 " %zu\n", id, size);
	return filter_api_accept(id);
}

static void
on_reset(uint64_t id)
{
	printf("on_reset: 0x%" PRIx64 "\n", id);
}

static void
on_commit(uint64_t id)
{
	printf("on_commit: 0x%" PRIx64 "\n", id);
}

static void
on_rollback(uint64_t id)
{
	printf("on_rollback: 0x%" PRIx64 "\n", id);
}

static void
on_disconnect(uint64_t id)
{
	printf("on_disconnect: 0x%" PRIx64 "\n", id);
}

int
main(void)
{
	filter_api_on_connect(on_connect);
	filter_api_on_helo(on_helo);
	filter_api_on_mail(on_mail);
	filter_api_on_rcpt(on_rcpt);
	filter_api_on_data(on_data);
	filter_api_on_dataline(on_dataline);
	filter_api_on_eom(on_eom);
	filter_api_on_reset(on_reset);
	filter_api_on_commit(on_commit);
	filter_api_on_rollback(on_rollback);
	filter_api_on_disconnect(on_disconnect);
	filter_api_no_chroot();
	filter_api_loop();
}
