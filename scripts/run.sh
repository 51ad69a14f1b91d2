#!/bin/sh
# Run the quickstart: run.sh DIR [SCRIPT]. Everything that it makes is below DIR.
set -eu
dir=$1
here=$(cd "$(dirname "$0")/.." && pwd)
user=$(id -un)
mkdir -p "$dir"
cat <<EOT
weir listens on 127.0.0.1:2525. Type a mail into it:

    nc localhost 2525

A mail to $user@localhost arrives in $dir/mail/$user/new. The log follows
here; bin/weir filter list -q $dir/queue, in another terminal, asks the server.
Ctrl-C ends it.

EOT
if [ $# -gt 1 ]; then
	set -- "$1" -D "script=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")"
fi
shift
exec "$here/bin/weir" run -c "$here/etc/quickstart.conf" -D "dir=$dir" -D "user=$user" -D "home=$here" "$@"
