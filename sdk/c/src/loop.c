/* Standard input and output, and the privileges of a filter that began as root. */
#include <sys/types.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

#define MAX_LINE	(1024 * 1024)	/* bytes of one line of the server, LF included */

static const char	*rootdir = PATH_CHROOT;
static int		 rootdir_set, ids_set, no_chroot;
static uid_t		 uid;
static gid_t		 gid;

void filter_api_set_chroot(const char *dir) { rootdir = dir; rootdir_set = 1; no_chroot = 0; }
void filter_api_no_chroot(void) { no_chroot = 1; }
void filter_api_setugid(uid_t u, gid_t g) { uid = u; gid = g; ids_set = 1; }

static void
drop_privileges(void)
{
	const struct passwd	*pw;
	int			 got;

	if (geteuid() != 0)
		return;
	if (!ids_set && (pw = getpwnam(SMTPD_USER)) != NULL)
		filter_api_setugid(pw->pw_uid, pw->pw_gid);
	if (!no_chroot) {
		got = chroot(rootdir) == 0 && chdir("/") == 0;
		if (!got && rootdir_set)
			fatal("filter_api: chroot %s", rootdir);
		if (!got)
			log_warn("filter_api: no chroot to %s", rootdir);
	}
	if (ids_set && (setgroups(1, &gid) == -1 || setgid(gid) == -1 || setuid(uid) == -1))
		fatal("filter_api: becoming user %lu and group %lu", (unsigned long)uid, (unsigned long)gid);
}

/* Keep the protocol's descriptors: what the program prints is log. */
static int
take_stdio(void)
{
	int in, out, null;

	if ((in = dup(STDIN_FILENO)) == -1 || (out = dup(STDOUT_FILENO)) == -1 ||
	    (null = open("/dev/null", O_RDONLY)) == -1 || dup2(null, STDIN_FILENO) == -1 ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) == -1)
		fatal("filter_api: standard input and output");
	close(null);
	setvbuf(stdout, NULL, _IOLBF, 0);
	out_begin(out);
	return in;
}

void
filter_api_loop(void)
{
	size_t	 room = 64 * 1024, have = 0, scanned = 0;
	char	*buf = xalloc(room), *line, *end;
	ssize_t	 n;
	int	 in, ready = 0;

	if (isatty(STDIN_FILENO)) {
		fputs("This is a mail filter. The mail server starts it; in its configuration:\n\n"
		    "    filter NAME proc-exec \"/path/to/this/program\"\n    listen on ... filter NAME\n", stderr);
		exit(0);
	}
	in = take_stdio();
	drop_privileges();
	for (;;) {
		if (have == room) {
			if (room > MAX_LINE)
				fatalx("filter_api: the server broke the protocol: a line of more than %d bytes", MAX_LINE);
			room *= 2;
			if ((buf = realloc(buf, room)) == NULL)
				fatal("filter_api: no memory");
		}
		n = read(in, buf + have, room - have);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			fatal("filter_api: reading from the server");
		if (n == 0)
			break;
		have += (size_t)n;
		for (line = buf; (end = memchr(buf + scanned, '\n', have - scanned)) != NULL; line = end + 1) {
			*end = '\0';
			scanned = (size_t)(end - buf) + 1;
			ready = take_line(line, (size_t)(end - line));
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		scanned = have;
		out_flush();	/* all that this read brought is answered */
	}
	free(buf);
	if (!ready)
		fatalx("filter_api: the server ended before config|ready");
	exit(0);
}
