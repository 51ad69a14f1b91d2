/* Says accept to every HELO and returns every line. */
#include "smtpd-api.h"

static int
on_helo(uint64_t id, const char *helo)
{
	(void)helo;
	return filter_api_accept(id);
}

static void
on_dataline(uint64_t id, const char *line)
{
	filter_api_writeln(id, line);
}

int
main(void)
{
	filter_api_no_chroot();
	filter_api_on_helo(on_helo);
	filter_api_on_dataline(on_dataline);
	filter_api_loop();
}
