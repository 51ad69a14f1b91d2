/*
 * nullmilter noop SOCKET: asked about every command, lets all continue; it
 * does not want to see header or body.
 * nullmilter data SOCKET: takes the whole message and gives its body back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libmilter/mfapi.h>

static int data;

struct body {
	unsigned char *p;
	size_t len, room;
};

static sfsistat
connected(SMFICTX *c, char *name, _SOCK_ADDR *addr)
{
	(void)c, (void)name, (void)addr;
	return SMFIS_CONTINUE;
}

static sfsistat
helo(SMFICTX *c, char *name)
{
	(void)c, (void)name;
	return SMFIS_CONTINUE;
}

static sfsistat
path(SMFICTX *c, char **args)
{
	(void)c, (void)args;
	return SMFIS_CONTINUE;
}

static sfsistat
plain(SMFICTX *c)
{
	(void)c;
	return SMFIS_CONTINUE;
}

static sfsistat
header(SMFICTX *c, char *name, char *value)
{
	(void)c, (void)name, (void)value;
	return SMFIS_CONTINUE;
}

static sfsistat
forget(SMFICTX *c)
{
	struct body *b = smfi_getpriv(c);

	if (b != NULL) {
		free(b->p);
		free(b);
		smfi_setpriv(c, NULL);
	}
	return SMFIS_CONTINUE;
}

static sfsistat
chunk(SMFICTX *c, unsigned char *p, size_t n)
{
	struct body *b = smfi_getpriv(c);

	if (b == NULL) {
		if ((b = calloc(1, sizeof *b)) == NULL)
			return SMFIS_TEMPFAIL;
		smfi_setpriv(c, b);
	}
	if (b->len + n > b->room) {
		size_t room = 2 * (b->len + n);
		unsigned char *more = realloc(b->p, room);
		if (more == NULL)
			return SMFIS_TEMPFAIL;
		b->p = more;
		b->room = room;
	}
	memcpy(b->p + b->len, p, n);
	b->len += n;
	return SMFIS_CONTINUE;
}

static sfsistat
complete(SMFICTX *c)
{
	struct body *b = smfi_getpriv(c);
	int bad = b != NULL && smfi_replacebody(c, b->p, (int)b->len) != MI_SUCCESS;

	forget(c);
	return bad ? SMFIS_TEMPFAIL : SMFIS_CONTINUE;
}

/* Ask for no more than is needed, as the line filter does. */
static sfsistat
negotiate(SMFICTX *c, unsigned long actions, unsigned long steps, unsigned long f2, unsigned long f3,
    unsigned long *want_actions, unsigned long *skip, unsigned long *w2, unsigned long *w3)
{
	(void)c, (void)actions, (void)f2, (void)f3;
	*want_actions = data ? SMFIF_CHGBODY : 0;
	*skip = steps & (data ? SMFIP_NOUNKNOWN : SMFIP_NOUNKNOWN | SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY);
	*w2 = *w3 = 0;
	return SMFIS_CONTINUE;
}

int
main(int argc, char **argv)
{
	static char name[] = "nullmilter";
	struct smfiDesc d = {
		.xxfi_name = name, .xxfi_version = SMFI_VERSION,
		.xxfi_connect = connected, .xxfi_helo = helo, .xxfi_envfrom = path, .xxfi_envrcpt = path,
		.xxfi_header = header, .xxfi_eoh = plain, .xxfi_body = chunk, .xxfi_eom = complete,
		.xxfi_abort = forget, .xxfi_close = forget, .xxfi_data = plain, .xxfi_negotiate = negotiate,
	};

	if (argc != 3)
		return 2;
	data = strcmp(argv[1], "data") == 0;
	d.xxfi_flags = data ? SMFIF_CHGBODY : 0;
	smfi_setbacklog(1024);
	if (smfi_setconn(argv[2]) != MI_SUCCESS || smfi_register(d) != MI_SUCCESS)
		return 1;
	return smfi_main();
}
