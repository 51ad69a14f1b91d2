/* Tests of decide.c: cc decide.c decide_test.c -lweirfiltertest */
#include "filtertest.h"

void
filtertest(void)
{
	uint64_t id = filtertest_session("client.example", "192.0.2.1");

	filtertest_equal(filtertest_helo(id, "client"), "proceed");
	filtertest_equal(filtertest_mail(id, "a@SPAM.example"), "reject|550 5.7.1 No mail from there, please");
	filtertest_equal(filtertest_mail(id, "a@example.org"), "proceed");
	filtertest_equal(filtertest_message(id, "Subject: the Lottery\n\n"), "reject|550 5.7.1 No lottery here, please");
	filtertest_rollback(id);
	filtertest_equal(filtertest_message(id, "Subject: hi\n\nlottery\n.\n"), "proceed");
	filtertest_equal(filtertest_out(), "X-Decide: seen\nSubject: hi\n\nlottery\n.\n");
	filtertest_commit(id);
	filtertest_end(id);
}
