/*
 * struct tree and struct dict: arrays, sorted by key. Both have the same
 * shape; a tree's keys are numbers and a dict's are strings.
 */
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define ROOM_MIN 16	/* entries of a table that holds any */

struct filter_api_entry {
	uint64_t	 id;
	char		*key;	/* NULL in a tree */
	void		*data;
};

static int
compare(const struct filter_api_entry *e, uint64_t id, const char *key)
{
	if (key != NULL)
		return strcmp(e->key, key);
	return e->id < id ? -1 : e->id > id;
}

/* Where the key is, or would be; *found says which. */
static size_t
place(const struct filter_api_table *t, uint64_t id, const char *key, int *found)
{
	size_t	low = 0, high = t->count, mid;
	int	c;

	*found = 0;
	while (low < high) {
		mid = low + (high - low) / 2;
		c = compare(&t->entry[mid], id, key);
		if (c == 0) {
			*found = 1;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void *
get(const struct filter_api_table *t, uint64_t id, const char *key, int *found)
{
	size_t i = place(t, id, key, found);

	return *found ? t->entry[i].data : NULL;
}

/* Give the value that was there, NULL if none. */
static void *
set(struct filter_api_table *t, uint64_t id, const char *key, void *data, int *found)
{
	size_t	 i = place(t, id, key, found);
	void	*old;

	if (*found) {
		old = t->entry[i].data;
		t->entry[i].data = data;
		return old;
	}
	if (t->count == t->room) {
		t->room = t->room == 0 ? ROOM_MIN : 2 * t->room;
		if ((t->entry = realloc(t->entry, t->room * sizeof *t->entry)) == NULL)
			fatal("filter_api: no memory");
	}
	memmove(t->entry + i + 1, t->entry + i, (t->count - i) * sizeof *t->entry);
	t->entry[i].id = id;
	t->entry[i].key = key != NULL ? xdup(key) : NULL;
	t->entry[i].data = data;
	t->count++;
	return NULL;
}

static void *
take(struct filter_api_table *t, size_t i)
{
	void *data = t->entry[i].data;

	free(t->entry[i].key);
	t->count--;
	memmove(t->entry + i, t->entry + i + 1, (t->count - i) * sizeof *t->entry);
	if (t->count == 0) {
		free(t->entry);
		t->entry = NULL;
		t->room = 0;
	}
	return data;
}

static void *
pop(struct filter_api_table *t, uint64_t id, const char *key, int *found)
{
	size_t i = place(t, id, key, found);

	return *found ? take(t, i) : NULL;
}

/* The handle is the number of the entry that comes next, as a pointer. */
static const struct filter_api_entry *
next(const struct filter_api_table *t, void **handle, size_t i)
{
	if (i >= t->count)
		return NULL;
	*handle = (void *)(uintptr_t)(i + 1);
	return &t->entry[i];
}

static void
merge(struct filter_api_table *to, struct filter_api_table *from)
{
	size_t	i;
	int	found;

	for (i = 0; i < from->count; i++) {
		set(to, from->entry[i].id, from->entry[i].key, from->entry[i].data, &found);
		free(from->entry[i].key);
	}
	free(from->entry);
	memset(from, 0, sizeof *from);
}

static void
must(int ok, const char *who)
{
	if (!ok)
		fatalx("%s: the key is there already, or is not there", who);
}

/* -- keys that are numbers ------------------------------------------------- */

int
tree_check(struct tree *t, uint64_t id)
{
	int found;

	get(&t->table, id, NULL, &found);
	return found;
}

void *
tree_set(struct tree *t, uint64_t id, void *data)
{
	int found;

	return set(&t->table, id, NULL, data, &found);
}

void
tree_xset(struct tree *t, uint64_t id, void *data)
{
	must(!tree_check(t, id), "tree_xset");
	tree_set(t, id, data);
}

void *
tree_get(struct tree *t, uint64_t id)
{
	int found;

	return get(&t->table, id, NULL, &found);
}

void *
tree_xget(struct tree *t, uint64_t id)
{
	int	 found;
	void	*data = get(&t->table, id, NULL, &found);

	must(found, "tree_xget");
	return data;
}

void *
tree_pop(struct tree *t, uint64_t id)
{
	int found;

	return pop(&t->table, id, NULL, &found);
}

void *
tree_xpop(struct tree *t, uint64_t id)
{
	int	 found;
	void	*data = pop(&t->table, id, NULL, &found);

	must(found, "tree_xpop");
	return data;
}

int
tree_root(struct tree *t, uint64_t *id, void **data)
{
	void *handle = NULL;

	return tree_iter(t, &handle, id, data);
}

int
tree_poproot(struct tree *t, uint64_t *id, void **data)
{
	if (!tree_root(t, id, data))
		return 0;
	take(&t->table, 0);
	return 1;
}

static int
tree_give(const struct filter_api_entry *e, uint64_t *id, void **data)
{
	if (e == NULL)
		return 0;
	if (id != NULL)
		*id = e->id;
	if (data != NULL)
		*data = e->data;
	return 1;
}

int
tree_iter(struct tree *t, void **handle, uint64_t *id, void **data)
{
	return tree_give(next(&t->table, handle, (size_t)(uintptr_t)*handle), id, data);
}

int
tree_iterfrom(struct tree *t, void **handle, uint64_t from, uint64_t *id, void **data)
{
	int found;

	if (*handle != NULL)
		return tree_iter(t, handle, id, data);
	return tree_give(next(&t->table, handle, place(&t->table, from, NULL, &found)), id, data);
}

void
tree_merge(struct tree *to, struct tree *from)
{
	merge(&to->table, &from->table);
}

/* -- keys that are strings -------------------------------------------------- */

int
dict_check(struct dict *d, const char *key)
{
	int found;

	get(&d->table, 0, key, &found);
	return found;
}

void *
dict_set(struct dict *d, const char *key, void *data)
{
	int found;

	return set(&d->table, 0, key, data, &found);
}

void
dict_xset(struct dict *d, const char *key, void *data)
{
	must(!dict_check(d, key), "dict_xset");
	dict_set(d, key, data);
}

void *
dict_get(struct dict *d, const char *key)
{
	int found;

	return get(&d->table, 0, key, &found);
}

void *
dict_xget(struct dict *d, const char *key)
{
	int	 found;
	void	*data = get(&d->table, 0, key, &found);

	must(found, "dict_xget");
	return data;
}

void *
dict_pop(struct dict *d, const char *key)
{
	int found;

	return pop(&d->table, 0, key, &found);
}

void *
dict_xpop(struct dict *d, const char *key)
{
	int	 found;
	void	*data = pop(&d->table, 0, key, &found);

	must(found, "dict_xpop");
	return data;
}

int
dict_root(struct dict *d, const char **key, void **data)
{
	void *handle = NULL;

	return dict_iter(d, &handle, key, data);
}

int
dict_poproot(struct dict *d, void **data)
{
	if (!dict_root(d, NULL, data))
		return 0;
	take(&d->table, 0);
	return 1;
}

static int
dict_give(const struct filter_api_entry *e, const char **key, void **data)
{
	if (e == NULL)
		return 0;
	if (key != NULL)
		*key = e->key;
	if (data != NULL)
		*data = e->data;
	return 1;
}

int
dict_iter(struct dict *d, void **handle, const char **key, void **data)
{
	return dict_give(next(&d->table, handle, (size_t)(uintptr_t)*handle), key, data);
}

int
dict_iterfrom(struct dict *d, void **handle, const char *from, const char **key, void **data)
{
	int found;

	if (*handle != NULL || from == NULL)
		return dict_iter(d, handle, key, data);
	return dict_give(next(&d->table, handle, place(&d->table, 0, from, &found)), key, data);
}

void
dict_merge(struct dict *to, struct dict *from)
{
	merge(&to->table, &from->table);
}
