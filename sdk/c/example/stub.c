/* The article's stub: says when somebody connects, and lets them in. The
 * lines that the article's copy lost are those without a space in them. */
#include <sys/types.h>

#include <stdint.h>
#include <unistd.h>

#include "smtpd-defines.h"
#include "smtpd-api.h"
#include "log.h"

static int
on_connect(uint64_t id, struct filter_connect *conn)
{
	log_warnx("filter-stub: OHAI, SOMEONE CONNECTED !");
	filter_api_accept(id);
	return (1);
}

int
main(int argc, char **argv)
{
	int ch;

	log_init(-1);

	while ((ch = getopt(argc, argv, "")) != -1) {
		switch (ch) {
		default:
			log_warnx("warn: filter-stub: bad option");
			return (1);
			/* NOTREACHED */
		}
	}
	argc -= optind;
	argv += optind;

	log_debug("debug: filter-stub: starting...");

	/* register a callback for "on_connect" event */
	filter_api_on_connect(on_connect);

	/* start doing stuff */
	filter_api_loop();

	log_warnx("warn: filter-stub: exiting");
	return (1);
}
