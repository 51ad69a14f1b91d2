/* The table of sessions. */
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define BUCKETS_MIN	64

static struct session	**buckets;
static size_t		  nbuckets, nsessions;

void *
xalloc(size_t n)
{
	void *p = calloc(1, n);

	if (p == NULL)
		fatal("filter_api: no memory");
	return p;
}

char *
xdup(const char *s)
{
	size_t	n = strlen(s) + 1;

	return memcpy(xalloc(n), s, n);
}

static struct session **
bucket(uint64_t id)
{
	/* Ids may be counted up: multiply so that all bits take part. */
	return &buckets[(id * 0x9e3779b97f4a7c15u >> 32) & (nbuckets - 1)];
}

struct session *
session_find(uint64_t id)
{
	struct session *s;

	if (nbuckets == 0)
		return NULL;
	for (s = *bucket(id); s != NULL; s = s->next)
		if (s->id == id)
			return s;
	return NULL;
}

static void
grow(void)
{
	struct session	**old = buckets, *s, *next;
	size_t		  n = nbuckets, i;

	nbuckets = n == 0 ? BUCKETS_MIN : n * 2;
	buckets = xalloc(nbuckets * sizeof *buckets);
	for (i = 0; i < n; i++)
		for (s = old[i]; s != NULL; s = next) {
			next = s->next;
			s->next = *bucket(s->id);
			*bucket(s->id) = s;
		}
	free(old);
}

struct session *
session_get(uint64_t id, const char *key)
{
	struct session *s = session_find(id);

	if (s != NULL)
		return s;
	if (nsessions >= nbuckets)
		grow();
	s = xalloc(sizeof *s);
	s->id = id;
	memcpy(s->key, key, strlen(key) + 1);	/* at most 16 digits: session_id() */
	s->next = *bucket(id);
	*bucket(id) = s;
	nsessions++;
	return s;
}

void
session_free(struct session *s)
{
	struct session **p;

	for (p = bucket(s->id); *p != s; p = &(*p)->next)
		;
	*p = s->next;
	nsessions--;
	free(s->conn);
	free(s->server);
	free(s->verdict);
	free(s);
}
