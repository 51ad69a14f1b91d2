/* Answers on their way to the server. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

#define OUT_SIZE	(64 * 1024)

static char	out[OUT_SIZE];
static size_t	outlen;
static int	outfd = -1;

void
out_begin(int fd)
{
	outfd = fd;
}

static void
write_all(const char *p, size_t n)
{
	ssize_t k;

	while (n > 0) {
		k = write(outfd, p, n);
		if (k == -1 && errno == EINTR)
			continue;
		if (k == -1)
			fatal("filter_api: the server no longer reads our answers");
		p += k;
		n -= (size_t)k;
	}
}

void
out_add(const char *p, size_t n)
{
	if (n > sizeof out - outlen)
		out_flush();
	if (n > sizeof out) {
		write_all(p, n);
		return;
	}
	memcpy(out + outlen, p, n);
	outlen += n;
}

void
out_text(const char *s)
{
	out_add(s, strlen(s));
}

void
out_flush(void)
{
	size_t n = outlen;

	outlen = 0;
	write_all(out, n);
}
