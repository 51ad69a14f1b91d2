/* The stub as the article prints it, with the lines that have no space in
 * them, which its copy lost, but without an answer in the hook. */
#include <sys/types.h>

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "smtpd-defines.h"
#include "smtpd-api.h"
#include "log.h"

static int
on_connect(uint64_t id, struct filter_connect *conn)
{
	log_warnx("filter-stub: OHAI, SOMEONE CONNECTED !");
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

	/* register a callback for "on_connect" event */
	filter_api_on_connect(on_connect);

	/* start doing stuff */
	filter_api_loop();

	log_warnx("warn: filter-stub: exiting");
	return (1);
}
