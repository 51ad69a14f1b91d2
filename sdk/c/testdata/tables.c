/* Tables, base64 and numbers at their edges; silent if all is well. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd-api.h"

#define CHECK(what) do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); bad = 1; } } while (0)

static int bad;

static void
trees(void)
{
	struct tree	 t, other;
	uint64_t	 id, last = 0;
	uintptr_t	 i;
	void		*handle = NULL, *data;
	size_t		 n = 0;

	tree_init(&t);
	tree_init(&other);
	CHECK(tree_empty(&t) && !tree_check(&t, 7) && tree_get(&t, 7) == NULL && tree_pop(&t, 7) == NULL);
	CHECK(!tree_poproot(&t, &id, &data));
	for (i = 1; i <= 1000; i++)
		CHECK(tree_set(&t, (i * 7919) % 1009, (void *)i) == NULL);
	CHECK(tree_count(&t) == 1000);
	CHECK(tree_set(&t, 7919 % 1009, NULL) == (void *)(uintptr_t)1 && tree_check(&t, 7919 % 1009));
	while (tree_iter(&t, &handle, &id, &data)) {
		CHECK(n == 0 || id > last);
		last = id;
		n++;
	}
	CHECK(n == 1000);
	handle = NULL;
	CHECK(tree_iterfrom(&t, &handle, last, &id, NULL) && id == last && !tree_iterfrom(&t, &handle, last, &id, NULL));
	tree_xset(&other, UINT64_MAX, &t);
	tree_merge(&other, &t);
	CHECK(tree_empty(&t) && tree_count(&other) == 1001 && tree_xget(&other, UINT64_MAX) == &t);
	CHECK(tree_xpop(&other, UINT64_MAX) == &t);
	for (n = 0; tree_poproot(&other, &id, &data); n++)
		;
	CHECK(n == 1000 && tree_empty(&other));
}

static void
dicts(void)
{
	struct dict	 d, other;
	const char	*key;
	char		 name[] = "b";
	void		*handle = NULL, *data;

	dict_init(&d);
	dict_init(&other);
	dict_xset(&d, name, &d);
	name[0] = 'a';
	dict_xset(&d, name, NULL);
	name[0] = 'x';
	CHECK(dict_check(&d, "a") && dict_get(&d, "b") == &d && dict_xget(&d, "a") == NULL && !dict_check(&d, "x"));
	CHECK(dict_iter(&d, &handle, &key, NULL) && strcmp(key, "a") == 0);
	CHECK(dict_iter(&d, &handle, &key, NULL) && strcmp(key, "b") == 0 && !dict_iter(&d, &handle, &key, NULL));
	handle = NULL;
	CHECK(dict_iterfrom(&d, &handle, "aa", &key, &data) && data == &d);
	CHECK(dict_root(&d, &key, &data) && dict_pop(&d, "zz") == NULL && dict_xpop(&d, "b") == &d);
	dict_set(&other, "a", &other);
	dict_merge(&other, &d);
	CHECK(dict_empty(&d) && dict_count(&other) == 1 && dict_poproot(&other, &data) && data == NULL);
}

static void
texts(void)
{
	static const char *const	 coded[] = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==" };
	const char			*why;
	char				 text[16], blank[] = " \t a b \n", none[] = "  ";
	unsigned char			 bytes[16];
	size_t				 n;

	for (n = 0; n < nitems(coded); n++) {	/* RFC 4648 s10 */
		CHECK(base64_encode((const unsigned char *)"foob", n, text, sizeof text) == (int)strlen(coded[n]));
		CHECK(strcmp(text, coded[n]) == 0);
		CHECK(base64_decode(coded[n], bytes, sizeof bytes) == (int)n && memcmp(bytes, "foob", n) == 0);
	}
	CHECK(base64_encode((const unsigned char *)"foo", 3, text, 5) == 4);
	CHECK(base64_encode((const unsigned char *)"foo", 3, text, 4) == -1);
	CHECK(base64_decode("Zm9v", bytes, 3) == 3 && base64_decode("Zm9v", bytes, 2) == -1);
	CHECK(base64_decode("Zm9", bytes, 9) == -1 && base64_decode("Z=9v", bytes, 9) == -1 && base64_decode("Zm9\n", bytes, 9) == -1);
	CHECK(strcmp(strip(blank), "a b") == 0 && strcmp(strip(none), "") == 0);
	CHECK(strlcpy(text, "abc", 3) == 3 && strcmp(text, "ab") == 0 && strlcat(text, "cd", 4) == 4 && strcmp(text, "abc") == 0);
	CHECK(strtonum("10", 1, 10, &why) == 10 && why == NULL);
	CHECK(strtonum("11", 1, 10, &why) == 0 && strcmp(why, "too large") == 0);
	CHECK(strtonum("0", 1, 10, &why) == 0 && strcmp(why, "too small") == 0);
	CHECK(strtonum("9999999999999999999", 1, LLONG_MAX, &why) == 0 && strcmp(why, "too large") == 0);
	CHECK(strtonum("1x", 1, 10, &why) == 0 && strcmp(why, "invalid") == 0);
}

int
main(int argc, char **argv)
{
	struct tree t = { { NULL, 0, 0 } };

	(void)argv;
	if (argc > 1)
		tree_xget(&t, 1);	/* ends the program */
	trees();
	dicts();
	texts();
	return bad;
}
