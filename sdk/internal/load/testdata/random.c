/* Keeps a thousand queries, and answers them in a random order. */
#include <stdlib.h>

#include "smtpd-api.h"

#define MANY 1000

static struct {
	uint64_t	 id;
	char		*helo;
} waiting[MANY];
static size_t count;

static int
on_helo(uint64_t id, const char *helo)
{
	size_t i;

	waiting[count].id = id;
	waiting[count++].helo = xstrdup(helo, "random");
	if (count < MANY)
		return 1;
	while (count > 0) {
		i = (size_t)rand() % count--;
		filter_api_reject_code(waiting[i].id, FILTER_FAIL, 450, waiting[i].helo);
		free(waiting[i].helo);
		waiting[i] = waiting[count];
	}
	return 1;
}

int
main(void)
{
	filter_api_no_chroot();
	filter_api_on_helo(on_helo);
	filter_api_loop();
}
