/*
 * The filter API: register hooks, then filter_api_loop(). See filter_api(3).
 *
 * A query hook (connect, helo, mail, rcpt, data, eom) is answered by exactly
 * one filter_api_accept, _reject or _reject_code for its id, in the hook or
 * later from any other hook. What a hook returns is ignored. The library is
 * for one thread.
 */
#ifndef SMTPD_API_H
#define SMTPD_API_H

#include <sys/types.h>
#include <sys/socket.h>

#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "smtpd-defines.h"

enum filter_status {
	FILTER_OK,	/* in a rejection: the same as FILTER_FAIL */
	FILTER_FAIL,	/* refuse */
	FILTER_CLOSE	/* refuse and drop the client */
};

/* An address; both parts are empty for the null reverse-path. */
struct mailaddr {
	char	user[SMTPD_MAXLOCALPARTSIZE];
	char	domain[SMTPD_MAXDOMAINPARTSIZE];
};

/* Valid within the hook. An address that is unknown has family AF_UNSPEC. */
struct filter_connect {
	struct sockaddr_storage	 local;
	struct sockaddr_storage	 remote;
	const char		*hostname;
};

/* Queries. A hook that is not registered is not asked. */
void filter_api_on_connect(int (*)(uint64_t, struct filter_connect *));
void filter_api_on_helo(int (*)(uint64_t, const char *));
void filter_api_on_mail(int (*)(uint64_t, struct mailaddr *));
void filter_api_on_rcpt(int (*)(uint64_t, struct mailaddr *));
void filter_api_on_data(int (*)(uint64_t));
/* The message's size, one byte for each line end. */
void filter_api_on_eom(int (*)(uint64_t, size_t));

/* A line of the message, valid within the hook; see filter_api_writeln. */
void filter_api_on_dataline(void (*)(uint64_t, const char *));

/* Events. Nothing is answered. */
void filter_api_on_reset(void (*)(uint64_t));		/* RSET */
void filter_api_on_disconnect(void (*)(uint64_t));	/* the session is over */
void filter_api_on_commit(void (*)(uint64_t));		/* the message was accepted */
void filter_api_on_rollback(void (*)(uint64_t));	/* the transaction was given up */

/*
 * Answers; they return 1. An answer for a session that is over is ignored, a
 * second one for a query ends the filter, as does a code that is not 400 to
 * 599. Control bytes in line become spaces.
 */
int filter_api_accept(uint64_t id);
int filter_api_reject(uint64_t id, enum filter_status);
int filter_api_reject_code(uint64_t id, enum filter_status, uint32_t code, const char *line);

/*
 * Emit one line of the message, without its end. With on_dataline, what is
 * written until on_eom is answered is the message.
 */
void filter_api_writeln(uint64_t id, const char *line);

/* Serve until the server ends the filter; then exit with status 0. */
void filter_api_loop(void) LOG_NORETURN;

/* For filters that are started as root; called before filter_api_loop. */
void filter_api_setugid(uid_t, gid_t);
void filter_api_set_chroot(const char *);
void filter_api_no_chroot(void);

/* The program's own pointer of a session; NULL at first. */
void filter_api_set_udata(uint64_t id, void *);
void *filter_api_get_udata(uint64_t id);

/* Text in a static buffer, valid until the next call of the same function. */
const char *filter_api_sockaddr_to_text(const struct sockaddr *);	/* "(unknown)" on error */
const char *filter_api_mailaddr_to_text(const struct mailaddr *);	/* NULL on error */

#endif
