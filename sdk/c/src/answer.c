/*
 * The answers to queries. A file of its own, and nothing else in it: see
 * watches_only() in filter_api.c.
 */
#include <stdio.h>
#include <string.h>

#include "session.h"

#define REFUSED		"550 5.7.1 Refused by a filter"
#define CODE_REFUSED	550	/* in the place of a code that is no refusal */

int
filter_api_accept(uint64_t id)
{
	return settle(id, "proceed");
}

int
filter_api_reject(uint64_t id, enum filter_status status)
{
	return settle(id, status == FILTER_CLOSE ? "disconnect|" REFUSED : "reject|" REFUSED);
}

int
filter_api_reject_code(uint64_t id, enum filter_status status, uint32_t code, const char *line)
{
	char	 verdict[SMTPD_MAXLINESIZE], *p;

	/* Programs of the old API did this, with 0 or 666, and meant no. */
	if (code < 400 || code > 599) {
		log_warnx("filter_api_reject_code: a refusal has a code of 400 to 599, not %lu: %d is sent",
		    (unsigned long)code, CODE_REFUSED);
		code = CODE_REFUSED;
	}
	if (line == NULL || line[0] == '\0')
		line = "Refused";
	snprintf(verdict, sizeof verdict, "%s|%lu %s", status == FILTER_CLOSE ? "disconnect" : "reject",
	    (unsigned long)code, line);
	for (p = verdict; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	return settle(id, verdict);
}
