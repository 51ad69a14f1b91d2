/*
 * Tests of a filter without a server. Build the filter, unchanged, with a file
 * that defines filtertest(), and with -lweirfiltertest in the place of
 * -lweirfilter: filter_api_loop() then runs filtertest() and ends the program,
 * with status 1 if something was not equal.
 *
 *	void
 *	filtertest(void)
 *	{
 *		uint64_t id = filtertest_session("client.example", "192.0.2.1");
 *
 *		filtertest_equal(filtertest_mail(id, "a@spam.example"), "reject|550 5.7.1 no");
 *		filtertest_end(id);
 *	}
 *
 * An answer is what the protocol says: "proceed", "reject|CODE TEXT",
 * "disconnect|CODE TEXT"; "" while there is none. Without a hook it is
 * "proceed". Strings that are given are valid until the next call.
 */
#ifndef FILTERTEST_H
#define FILTERTEST_H

#include <stdint.h>

void filtertest(void);	/* yours */

uint64_t	 filtertest_session(const char *hostname, const char *remote);
const char	*filtertest_connect(uint64_t id);	/* of the newest session */
const char	*filtertest_helo(uint64_t id, const char *name);
const char	*filtertest_mail(uint64_t id, const char *address);
const char	*filtertest_rcpt(uint64_t id, const char *address);
const char	*filtertest_data(uint64_t id);
const char	*filtertest_message(uint64_t id, const char *lines);	/* each ended by LF */
const char	*filtertest_out(void);		/* the message that came out, lines ended by LF */
const char	*filtertest_answer(uint64_t id);	/* to the last question, if it came later */
void		 filtertest_reset(uint64_t id);
void		 filtertest_commit(uint64_t id);
void		 filtertest_rollback(uint64_t id);
void		 filtertest_end(uint64_t id);

#define filtertest_equal(got, want) filtertest_compare(__FILE__, __LINE__, (got), (want))
void filtertest_compare(const char *file, int line, const char *got, const char *want);

#endif
