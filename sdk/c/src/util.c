/*
 * What the headers of the 5.7.1 API brought along for filters: memory that
 * cannot be missing, base64, and three functions of the BSDs' libc.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

void *
xmalloc(size_t n, const char *who)
{
	void *p = malloc(n != 0 ? n : 1);

	if (p == NULL)
		fatal("%s: malloc", who);
	return p;
}

void *
xcalloc(size_t n, size_t size, const char *who)
{
	void *p = calloc(n != 0 ? n : 1, size != 0 ? size : 1);

	if (p == NULL)
		fatal("%s: calloc", who);
	return p;
}

char *
xstrdup(const char *s, const char *who)
{
	size_t n = strlen(s) + 1;

	return memcpy(xmalloc(n, who), s, n);
}

/* Take white space off both ends. */
char *
strip(char *s)
{
	static const char	 blank[] = " \t\n\v\f\r";
	size_t			 n;

	s += strspn(s, blank);
	for (n = strlen(s); n > 0 && strchr(blank, s[n - 1]) != NULL; n--)
		s[n - 1] = '\0';
	return s;
}

static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* RFC 4648 s4. Give the length of the text, or -1 if it does not fit. */
int
base64_encode(const unsigned char *src, size_t n, char *dest, size_t room)
{
	size_t		i, at = 0;
	unsigned long	bits;

	if (n > INT_MAX / 4 * 3 || (n + 2) / 3 * 4 + 1 > room)
		return -1;
	for (i = 0; i < n; i += 3) {
		bits = (unsigned long)src[i] << 16;
		bits |= i + 1 < n ? (unsigned long)src[i + 1] << 8 : 0;
		bits |= i + 2 < n ? src[i + 2] : 0;
		dest[at++] = digit[bits >> 18 & 63];
		dest[at++] = digit[bits >> 12 & 63];
		dest[at++] = i + 1 < n ? digit[bits >> 6 & 63] : '=';
		dest[at++] = i + 2 < n ? digit[bits & 63] : '=';
	}
	dest[at] = '\0';
	return (int)at;
}

/* Give the number of bytes, or -1 if the text is no base64 or does not fit. */
int
base64_decode(const char *src, unsigned char *dest, size_t room)
{
	size_t		 n = strlen(src), at = 0, i;
	unsigned long	 bits = 0;
	int		 have = 0;
	const char	*d;

	if (n % 4 != 0)
		return -1;
	for (i = 0; i < 2 && n > 0 && src[n - 1] == '='; i++)
		n--;
	for (i = 0; i < n; i++) {
		if ((d = memchr(digit, src[i], sizeof digit - 1)) == NULL)
			return -1;
		bits = bits << 6 | (unsigned long)(d - digit);
		have += 6;
		if (have >= 8) {
			have -= 8;
			if (at == room || at == INT_MAX)
				return -1;
			dest[at++] = (unsigned char)(bits >> have & 0xff);
		}
	}
	return (int)at;
}

#ifdef FILTER_API_NO_STRL
size_t
strlcpy(char *dest, const char *src, size_t room)
{
	size_t n = strlen(src);

	if (room > 0) {
		memcpy(dest, src, n < room ? n : room - 1);
		dest[n < room ? n : room - 1] = '\0';
	}
	return n;
}

size_t
strlcat(char *dest, const char *src, size_t room)
{
	const char	*end = memchr(dest, '\0', room);
	size_t		 n = end != NULL ? (size_t)(end - dest) : room;

	return n + strlcpy(dest + n, src, room - n);
}
#endif

#ifdef FILTER_API_NO_STRTONUM
long long
strtonum(const char *s, long long min, long long max, const char **why)
{
	long long	 n = 0;
	char		*end;
	const char	*wrong = NULL;
	int		 before = errno;

	errno = 0;
	n = strtoll(s, &end, 10);
	if (min > max || end == s || *end != '\0')
		wrong = "invalid";
	else if (n < min || (n == LLONG_MIN && errno == ERANGE))
		wrong = "too small";
	else if (n > max || (n == LLONG_MAX && errno == ERANGE))
		wrong = "too large";
	errno = wrong == NULL ? before : strcmp(wrong, "invalid") == 0 ? EINVAL : ERANGE;
	if (why != NULL)
		*why = wrong;
	return wrong == NULL ? n : 0;
}
#endif
