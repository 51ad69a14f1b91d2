/* @NAME@ is a mail filter: it refuses mail from one domain. */
#include <string.h>
#include <strings.h>

#include "smtpd-api.h"

#define REFUSED "spam.example"

/* Each question is answered exactly once: here, or later from another hook. */
static int
on_mail(uint64_t id, struct mailaddr *mail)
{
	if (strcasecmp(mail->domain, REFUSED) == 0)
		return filter_api_reject_code(id, FILTER_FAIL, 550, "5.7.1 No mail from there, please");
	return filter_api_accept(id);
}

int
main(void)
{
	filter_api_on_mail(on_mail);
	filter_api_loop();
}
