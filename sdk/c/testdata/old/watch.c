/* Hooks for every query, and an answer to none. */
#include <stdio.h>

#include "smtpd-defines.h"
#include "smtpd-api.h"
#include "log.h"

static int on_connect(uint64_t id, struct filter_connect *c) { log_info("%jx %s", (uintmax_t)id, c->hostname); return 1; }
static int on_helo(uint64_t id, const char *helo) { log_info("%jx %s", (uintmax_t)id, helo); return 1; }
static int on_mail(uint64_t id, struct mailaddr *m) { log_info("%jx %s", (uintmax_t)id, m->user); return 1; }
static int on_rcpt(uint64_t id, struct mailaddr *m) { log_info("%jx %s", (uintmax_t)id, m->user); return 1; }
static int on_data(uint64_t id) { log_info("%jx", (uintmax_t)id); return 1; }
static int on_eom(uint64_t id, size_t size) { log_info("%jx %zu", (uintmax_t)id, size); return 1; }
static void on_dataline(uint64_t id, const char *line) { filter_api_writeln(id, line); }

int
main(void)
{
	filter_api_on_connect(on_connect);
	filter_api_on_helo(on_helo);
	filter_api_on_mail(on_mail);
	filter_api_on_rcpt(on_rcpt);
	filter_api_on_data(on_data);
	filter_api_on_eom(on_eom);
	filter_api_on_dataline(on_dataline);
	filter_api_no_chroot();
	filter_api_loop();
	return 1;
}
