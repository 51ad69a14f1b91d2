/* Addresses, from the wire and as text. */
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

/* "192.0.2.1:25", "[2001:db8::1]:25", either without a port, "unix:/path", "local". */
void
parse_endpoint(struct sockaddr_storage *ss, const char *text)
{
	struct sockaddr_in	 in = { .sin_family = AF_INET };
	struct sockaddr_in6	 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_un	 un = { .sun_family = AF_UNIX };
	char			 host[INET6_ADDRSTRLEN] = "";
	const char		*end, *port;
	size_t			 n;
	int			 v6 = text[0] == '[';

	memset(ss, 0, sizeof *ss);
	ss->ss_family = AF_UNSPEC;
	if (strncmp(text, "unix:", 5) == 0 || strcmp(text, "local") == 0) {
		if (text[0] == 'u')
			snprintf(un.sun_path, sizeof un.sun_path, "%s", text + 5);
		memcpy(ss, &un, sizeof un);
		return;
	}
	if (v6) {
		text++;
		end = strchr(text, ']');
	} else
		end = strchr(text, ':');
	n = end != NULL ? (size_t)(end - text) : strlen(text);
	if (n >= sizeof host)
		return;
	memcpy(host, text, n);
	port = end == NULL ? NULL : strchr(end, ':');
	if (v6 && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		in6.sin6_port = htons((uint16_t)(port != NULL ? strtoul(port + 1, NULL, 10) : 0));
		memcpy(ss, &in6, sizeof in6);
	} else if (!v6 && inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		in.sin_port = htons((uint16_t)(port != NULL ? strtoul(port + 1, NULL, 10) : 0));
		memcpy(ss, &in, sizeof in);
	}
}

/*
 * The parts of an address. A local part alone gets the server's name; the
 * null reverse-path stays empty. RFC 5321 s4.5.3.1 has 64 and 255 bytes for
 * the parts; longer ones are cut to what the structure holds.
 */
void
parse_mailaddr(struct mailaddr *m, const char *text, const char *server)
{
	const char	*at = strrchr(text, '@'), *quote = strrchr(text, '"');
	size_t		 n;

	memset(m, 0, sizeof *m);
	if (at != NULL && quote != NULL && quote > at)
		at = NULL;	/* within a quoted local part */
	n = at != NULL ? (size_t)(at - text) : strlen(text);
	if (n >= sizeof m->user)
		n = sizeof m->user - 1;
	memcpy(m->user, text, n);
	if (at != NULL)
		snprintf(m->domain, sizeof m->domain, "%s", at + 1);
	else if (text[0] != '\0' && server != NULL)
		snprintf(m->domain, sizeof m->domain, "%s", server);
}

const char *
filter_api_sockaddr_to_text(const struct sockaddr *sa)
{
	static char	buf[NI_MAXHOST];
	socklen_t	len;

	switch (sa->sa_family) {
	case AF_INET:
		len = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		len = sizeof(struct sockaddr_in6);
		break;
	case AF_UNIX:
		return "local";
	default:
		return "(unknown)";
	}
	if (getnameinfo(sa, len, buf, sizeof buf, NULL, 0, NI_NUMERICHOST) != 0)
		return "(unknown)";
	return buf;
}

const char *
filter_api_mailaddr_to_text(const struct mailaddr *m)
{
	static char	buf[SMTPD_MAXLOCALPARTSIZE + SMTPD_MAXDOMAINPARTSIZE + 1];

	if (memchr(m->user, '\0', sizeof m->user) == NULL ||
	    memchr(m->domain, '\0', sizeof m->domain) == NULL)
		return NULL;
	snprintf(buf, sizeof buf, "%s%s%s", m->user, m->domain[0] != '\0' ? "@" : "", m->domain);
	return buf;
}
