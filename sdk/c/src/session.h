/* Inside of the library: what is known of a session, and the output. */
#ifndef SESSION_H
#define SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "smtpd-api.h"

#define TOKEN_MAX 32	/* bytes of a token, NUL included; the server's have 16 digits */

enum stage {
	IDLE,		/* no message is open */
	OPEN,		/* its lines are coming */
	ENDING		/* they have come, and on_eom has not been answered */
};

struct session {
	struct session		*next;		/* of the same bucket */
	uint64_t		 id;
	struct filter_connect	*conn;		/* from link-connect to the connect query */
	char			*server;	/* name of the greeting */
	char			*verdict;	/* answer of on_eom, until the server asks */
	void			*udata;
	size_t			 size;		/* of the message so far */
	enum stage		 stage;
	int			 gone;		/* what was open was given up */
	char			 key[17];	/* the id as on the wire */
	char			 question[TOKEN_MAX];	/* token of the open query, "" for none */
	char			 stream[TOKEN_MAX];	/* token of the open message */
};

struct session	*session_find(uint64_t);
struct session	*session_get(uint64_t, const char *key);
void		 session_free(struct session *);

void	*xalloc(size_t);
char	*xdup(const char *);

/* output.c: output is collected and written by out_flush. */
void	out_begin(int fd);
void	out_add(const char *, size_t);
void	out_text(const char *);
void	out_flush(void);

/* filter_api.c: answer the open query of a session; gives 1. */
int	settle(uint64_t id, const char *verdict);

/*
 * filter_api.c: take a line of the server, n bytes and a NUL in the place of
 * its LF. Gives 1 once the server is ready.
 */
int	take_line(char *line, size_t n);

/* text.c */
void	parse_endpoint(struct sockaddr_storage *, const char *);
void	parse_mailaddr(struct mailaddr *, const char *, const char *server);

#endif
