/*
 * pingpong N LEN: a line of LEN bytes goes to another process and comes back
 * over two pipes, N times. Prints the median and the mean in microseconds.
 * pingpong: gives back what it reads, for whoever wants to time that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char buf[65536];

static void
echo(int from, int to)
{
	ssize_t n;

	while ((n = read(from, buf, sizeof buf)) > 0)
		if (write(to, buf, n) != n)
			break;
	_exit(0);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int
order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	int there[2], back[2], n, len;
	double *all, sum = 0;

	if (argc == 1)
		echo(STDIN_FILENO, STDOUT_FILENO);
	if (argc != 3 || (n = atoi(argv[1])) < 1 || (len = atoi(argv[2])) < 1 || len > (int)sizeof buf)
		return 2;
	if (pipe(there) != 0 || pipe(back) != 0 || (all = calloc(n, sizeof *all)) == NULL)
		return 1;
	if (fork() == 0) {
		close(there[1]);
		close(back[0]);
		echo(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	memset(buf, 'x', len);
	for (int i = 0; i < n; i++) {
		double begin = now();
		if (write(there[1], buf, len) != len)
			return 1;
		for (int got = 0; got < len;) {
			ssize_t r = read(back[0], buf + got, len - got);
			if (r <= 0)
				return 1;
			got += r;
		}
		all[i] = now() - begin;
		sum += all[i];
	}
	qsort(all, n, sizeof *all, order);
	printf("%.3f %.3f\n", all[n / 2], sum / n);
	return 0;
}
