/* Logging to standard error, one write for each line. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "smtpd-defines.h"

static int verbose;

static void
say(const char *before, const char *fmt, va_list ap, int error)
{
	char	line[4096];
	size_t	n, room = sizeof line - 1;	/* for the LF */
	int	k;

	n = (size_t)snprintf(line, room, "%s", before);
	k = vsnprintf(line + n, room - n, fmt, ap);
	if (k > 0)
		n += (size_t)k < room - n ? (size_t)k : room - n - 1;
	if (error != 0) {
		k = snprintf(line + n, room - n, ": %s", strerror(error));
		if (k > 0)
			n += (size_t)k < room - n ? (size_t)k : room - n - 1;
	}
	line[n++] = '\n';
	fwrite(line, 1, n, stderr);
	fflush(stderr);
}

#define SAY(before, error) do {			\
	va_list ap;				\
	va_start(ap, fmt);			\
	say((before), fmt, ap, (error));	\
	va_end(ap);				\
} while (0)

void
log_init(int debug)
{
	if (debug)
		verbose |= TRACE_DEBUG;
}

void
log_verbose(int mask)
{
	verbose = mask;
}

void
log_trace(int mask, const char *fmt, ...)
{
	if (verbose & mask)
		SAY("", 0);
}

void
log_debug(const char *fmt, ...)
{
	if (verbose & TRACE_DEBUG)
		SAY("", 0);
}

void
log_info(const char *fmt, ...)
{
	SAY("", 0);
}

void
log_warn(const char *fmt, ...)
{
	int error = errno;

	SAY("", error);
}

void
log_warnx(const char *fmt, ...)
{
	SAY("", 0);
}

void
fatal(const char *fmt, ...)
{
	int error = errno;

	SAY("fatal: ", error);
	exit(1);
}

void
fatalx(const char *fmt, ...)
{
	SAY("fatal: ", 0);
	exit(1);
}
