#!/bin/sh
# Tests @NAME@.sh without a server: questions in, answers compared.
set -eu
cd "$(dirname "$0")"

ask() { printf 'filter|0.7|1.0|smtp-in|mail-from|00000000000000ab|%s|%s\n' "$1" "$2"; }

got=$({
	printf 'config|protocol|0.7\nconfig|ready\n'
	ask 0000000000000001 somebody@spam.example
	ask 0000000000000002 somebody@SPAM.Example
	ask 0000000000000003 somebody@notspam.example
	ask 0000000000000004 ''
} | ./@NAME@.sh | grep '^filter-result')
want='filter-result|00000000000000ab|0000000000000001|reject|550 5.7.1 No mail from there, please
filter-result|00000000000000ab|0000000000000002|reject|550 5.7.1 No mail from there, please
filter-result|00000000000000ab|0000000000000003|proceed
filter-result|00000000000000ab|0000000000000004|proceed'
if [ "$got" != "$want" ]; then
	printf 'FAIL\ngot\n%s\nwant\n%s\n' "$got" "$want"
	exit 1
fi
echo ok
