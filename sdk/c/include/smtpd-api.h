/*
 * The filter API: register hooks, then filter_api_loop(). See filter_api(3).
 *
 * A query hook (connect, helo, mail, rcpt, data, eom) is answered by exactly
 * one filter_api_accept, _reject or _reject_code for its id, in the hook or
 * later from any other hook. What a hook returns is ignored. The hooks of a
 * program that uses none of the three only watch: its queries are accepted.
 * The library is for one thread.
 */
#ifndef SMTPD_API_H
#define SMTPD_API_H

#include <sys/types.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <netinet/in.h>

#include <netdb.h>
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
 * second one for a query ends the filter. A code that is not 400 to 599 is
 * sent as 550, and the log says so. Control bytes in line become spaces.
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

/*
 * What follows has nothing to do with mail: programs that were written for
 * the API's 5.7.1 release find it in this header.
 */

/* Ordered tables. Zeroed memory is an empty one. Keys of a dict are copied. */
struct filter_api_table {
	struct filter_api_entry	*entry;
	size_t			 count, room;
};
struct tree { struct filter_api_table table; };
struct dict { struct filter_api_table table; };

#define tree_init(t)	((t)->table.entry = NULL, (t)->table.count = (t)->table.room = 0)
#define tree_empty(t)	((t)->table.count == 0)
#define tree_count(t)	((t)->table.count)
#define dict_init(d)	tree_init(d)
#define dict_empty(d)	tree_empty(d)
#define dict_count(d)	tree_count(d)

/*
 * get gives NULL for a key that is not there, set the value that was there;
 * the x forms end the program if a key is missing, or is there already. iter
 * gives 1 for each entry in order and then 0; its handle begins as NULL, and
 * nothing may be added or taken meanwhile. poproot takes any one.
 */
int	 tree_check(struct tree *, uint64_t);
void	*tree_set(struct tree *, uint64_t, void *);
void	 tree_xset(struct tree *, uint64_t, void *);
void	*tree_get(struct tree *, uint64_t);
void	*tree_xget(struct tree *, uint64_t);
void	*tree_pop(struct tree *, uint64_t);
void	*tree_xpop(struct tree *, uint64_t);
int	 tree_poproot(struct tree *, uint64_t *, void **);
int	 tree_root(struct tree *, uint64_t *, void **);
int	 tree_iter(struct tree *, void **, uint64_t *, void **);
int	 tree_iterfrom(struct tree *, void **, uint64_t, uint64_t *, void **);
void	 tree_merge(struct tree *, struct tree *);
int	 dict_check(struct dict *, const char *);
void	*dict_set(struct dict *, const char *, void *);
void	 dict_xset(struct dict *, const char *, void *);
void	*dict_get(struct dict *, const char *);
void	*dict_xget(struct dict *, const char *);
void	*dict_pop(struct dict *, const char *);
void	*dict_xpop(struct dict *, const char *);
int	 dict_poproot(struct dict *, void **);
int	 dict_root(struct dict *, const char **, void **);
int	 dict_iter(struct dict *, void **, const char **, void **);
int	 dict_iterfrom(struct dict *, void **, const char *, const char **, void **);
void	 dict_merge(struct dict *, struct dict *);

/* The string says who asked; without memory the program ends. */
void	*xmalloc(size_t, const char *);
void	*xcalloc(size_t, size_t, const char *);
char	*xstrdup(const char *, const char *);

char	*strip(char *);		/* white space off both ends, in place */
int	 base64_encode(const unsigned char *, size_t, char *, size_t);	/* length, or -1 */
int	 base64_decode(const char *, unsigned char *, size_t);		/* length, or -1 */

/* The BSDs have these in their libc. */
#if defined(__GLIBC__)
#define FILTER_API_NO_STRTONUM
long long strtonum(const char *, long long, long long, const char **);
#if !__GLIBC_PREREQ(2, 38)
#define FILTER_API_NO_STRL
size_t	 strlcpy(char *, const char *, size_t);
size_t	 strlcat(char *, const char *, size_t);
#endif
#endif

#endif
