/* Uses of the API at its edges; the argument says which. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd-api.h"

static uint32_t	code;
static uint64_t	first;
static int	mode, count;

static int
on_helo(uint64_t id, const char *helo)
{
	(void)helo;
	switch (mode) {
	case 'r':
		return filter_api_reject(id, FILTER_FAIL);
	case 'o':
		return filter_api_reject(id, FILTER_OK);
	case 'x':
		return filter_api_reject(id, FILTER_CLOSE);
	case 'c':
		return filter_api_reject_code(id, FILTER_FAIL, code, "a\r\nb|c");
	case 'e':
		return filter_api_reject_code(id, FILTER_FAIL, 550, "");
	case 't':
		filter_api_accept(id);
		return filter_api_accept(id);
	case 'w':
		filter_api_writeln(id, "x");
		return 1;
	case 'n':
		return 1;
	case 'l':	/* the first is answered last */
		if (count++ == 0)
			first = id;
		else {
			filter_api_accept(id);
			filter_api_accept(first);
		}
		return 1;
	}
	return filter_api_accept(id);
}

static char	kept[8][64];

static void
keep(uint64_t id, const char *line)
{
	(void)id;
	snprintf(kept[count++ % 8], sizeof kept[0], "%s", line);
}

static int
write_kept(uint64_t id, size_t size)
{
	char	line[64];
	int	i;

	snprintf(line, sizeof line, "X-Size: %zu", size);
	filter_api_writeln(id, line);
	for (i = 0; i < count; i++)
		filter_api_writeln(id, kept[i]);
	return filter_api_reject(id, FILTER_FAIL);
}

static int
tell_size(uint64_t id, size_t size)
{
	char	line[64];

	snprintf(line, sizeof line, "size %zu", size);
	return filter_api_reject_code(id, FILTER_FAIL, 550, line);
}

int
main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	mode = argv[1][0];
	code = (uint32_t)strtoul(argv[1] + 1, NULL, 10);
	filter_api_no_chroot();
	if (mode == 'k') {
		filter_api_on_dataline(keep);
		filter_api_on_eom(write_kept);
	} else if (mode == 's')
		filter_api_on_eom(tell_size);
	else
		filter_api_on_helo(on_helo);
	filter_api_loop();
}
